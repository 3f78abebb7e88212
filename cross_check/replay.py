"""The torch side: compute a record's quantities anew and compare. Imports no MindSpore."""

from __future__ import annotations

import platform
import time
from collections.abc import Iterable
from typing import Any

import numpy as np
import torch

from cross_check.bundle import Record
from cross_check.compare import Row, compare
from cross_check.lookup import loaded, twin_function
from cross_check.tolerances import FACTORS, tolerance

__all__ = ["replay", "torch_origin"]


def replay(record: Record, device: str = "cpu") -> list[Row]:
    """Return one row a quantity: the torch twin's numbers against the recorded ones.

    Args:
        record: what MindSpore computed.
        device: torch's, `cpu` or `cuda`.

    Raises:
        BundleError: the record does not fit its twin.
        ImportError: the twin needs a package that is not here (transformers).
    """
    # TF32 keeps 10 bits of the mantissa: it would be the torch side that is off
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    twin = loaded(
        twin_function(record.twin)(**record.args), record.group("weights"), record.case
    ).to(device)
    expected = _compute(record, twin, device)
    found = _found(record)
    rows = []
    for quantity, arrays in expected.items():
        bound = tolerance(record.dtype, quantity, record.smooth, record.outputs_only)
        rows.append(compare(record, quantity, found[quantity], arrays, bound))
    if record.reference is not None:
        product, redone = twin_function(record.reference)(
            record.group("dense"), record.group("weights"), **record.args
        )
        rows.append(compare(record, "factors", product, redone, FACTORS))
    return rows


def torch_origin(device: str) -> dict[str, Any]:
    """Return versions, device and date of this side."""
    versions = {"torch": torch.__version__, "numpy": np.__version__}
    return {
        "versions": versions | {"python": platform.python_version()},
        "device": torch.cuda.get_device_name() if device == "cuda" else f"{platform.machine()} CPU",
        "date": time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime()),
    }


def _compute(
    record: Record, twin: torch.nn.Module, device: str
) -> dict[str, dict[str, np.ndarray]]:
    inputs = torch.from_numpy(record.arrays["input"]).to(device)
    target = torch.from_numpy(record.arrays["target"]).to(device)
    optimiser = torch.optim.SGD(twin.parameters(), **record.optimiser)
    before = _state(twin)
    with torch.no_grad():
        expected = {"forward": {"": _numpy(_logits(twin.eval()(inputs)))}}
    twin.train()
    inputs.requires_grad_(inputs.is_floating_point())
    losses = []
    for step in range(len(record.arrays["losses"])):
        optimiser.zero_grad()
        outputs = _logits(twin(inputs))
        loss = 0.5 * ((outputs - target) ** 2).sum() / len(inputs)
        loss.backward()
        losses.append(_numpy(loss))
        if step == 0:
            expected["training forward"] = {"": _numpy(outputs)}
            if inputs.grad is not None:
                expected["gradient of input"] = {"": _numpy(inputs.grad)}
            expected["gradients of weights"] = {
                name: _numpy(p.grad) for name, p in twin.named_parameters() if p.grad is not None
            }
        optimiser.step()
        if step == record.steps - 1:
            after = _state(twin)
            expected["update of weights"] = {k: v - before[k] for k, v in after.items()}
    expected["loss curve"] = _by_step(losses)
    return expected


def _found(record: Record) -> dict[str, dict[str, np.ndarray]]:
    """Return what MindSpore computed, by quantity."""
    single = ("forward", "training forward", "gradient of input")
    found = {name: {"": record.arrays[name]} for name in single if name in record.arrays}
    found["gradients of weights"] = record.group("gradient")
    before = record.group("weights")
    found["update of weights"] = {k: v - before[k] for k, v in record.group("after").items()}
    found["loss curve"] = _by_step(record.arrays["losses"])
    return found


def _by_step(losses: Iterable[np.ndarray]) -> dict[str, np.ndarray]:
    """Return an array a step, so that each is measured by its own size."""
    return {f"step {i}": np.asarray(loss) for i, loss in enumerate(losses)}


def _state(twin: torch.nn.Module) -> dict[str, np.ndarray]:
    state: Iterable[tuple[str, torch.Tensor]] = twin.state_dict().items()
    return {k: _numpy(v) for k, v in state if not k.endswith("num_batches_tracked")}


def _logits(outputs: Any) -> torch.Tensor:
    return getattr(outputs, "logits", outputs)


def _numpy(tensor: torch.Tensor) -> np.ndarray:
    return tensor.detach().cpu().numpy().copy()  # a view would follow later steps
