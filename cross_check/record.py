"""The MindSpore side: run a case and keep inputs, weights and everything that was computed."""

from __future__ import annotations

import sys
from typing import Any

import mindspore as ms
import numpy as np
from mindspore import ParameterTuple, Tensor, nn

from cross_check.bundle import Record
from cross_check.case import Case, Inputs, Twin
from cross_check.cells import build
from cross_check.modes import in_mode
from ms_eff.bench.environment import describe
from ms_eff.models.naming import NAMINGS
from ms_eff.models.renaming import NORM
from ms_eff.train.optim import OptimizerState, Update
from ms_eff.train.settings import TrainSettings

__all__ = ["origin", "run"]

# the weights are compared after two steps, so that momentum has something to remember
STEPS = 2
# the losses of so many are
CURVE = 10
OPTIMISER = {"momentum": 0.9, "weight_decay": 0.01}
_SEED = 7


def run(case: Case, mode: str, dtype: str = "float32") -> list[Record]:
    """Run a case once; return it under each twin's names.

    Args:
        case: a row of `cases.CASES`.
        mode: `graph` or `pynative`.
        dtype: what to compute in (`float32`, `float16`, `bfloat16`); weights stay float32.
    """
    with in_mode(mode):
        subject = build(case.cell, case.args)
        rng = np.random.default_rng(_SEED)
        _liven(subject.cell, rng)
        _set_precision(subject.cell, dtype)
        arrays = _compute(subject.cell, _inputs(case.inputs, rng), case.rate, rng)
        arrays |= {f"dense/{name}": array for name, array in subject.dense.items()}
    return [
        Record(
            case=case.name,
            twin=twin.build,
            args={**twin.args, **subject.args},
            reference=case.reference,
            mode=mode,
            dtype=dtype,
            smooth=case.smooth,
            optimiser={"lr": case.rate, **OPTIMISER},
            steps=STEPS,
            arrays=_renamed(arrays, twin),
            zero=case.zero,
            outputs_only=case.outputs_only,
        )
        for twin in case.twins
    ]


def origin() -> dict[str, Any]:
    """Return versions, device, date, seed and commit of this side."""
    described = describe(command=["python", "-m", "cross_check", *sys.argv[1:]], seed=_SEED)
    described.pop("mode")  # each record has its own
    return described


class _TrainStep(nn.Cell):
    """Half the squared distance to a target, its gradients and an optimiser step: one graph."""

    def __init__(self, cell: nn.Cell, update: nn.Cell, differentiable_input: bool) -> None:
        super().__init__(auto_prefix=False)
        weights = ParameterTuple(cell.trainable_params())
        self.cell = cell
        self.update = update
        self.with_input = differentiable_input
        self.gradient = ms.value_and_grad(
            self._scalar, 0 if differentiable_input else None, weights, has_aux=True
        )

    def _scalar(self, inputs: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        outputs = self.cell(inputs).astype(ms.float32)
        gap = outputs - target
        return 0.5 * (gap * gap).sum() / inputs.shape[0], outputs

    def construct(self, inputs: Tensor, target: Tensor) -> tuple[Any, ...]:
        (loss, outputs), gradients = self.gradient(inputs, target)
        weight_gradients = gradients[1] if self.with_input else gradients
        return loss, outputs, gradients, self.update(weight_gradients)


def _compute(
    cell: nn.Cell, inputs: np.ndarray, rate: float, rng: np.random.Generator
) -> dict[str, np.ndarray]:
    weights = cell.trainable_params()
    # by their places in the cell, as snapshots have them; a method may have named them otherwise
    names = {id(parameter): name for name, parameter in cell.parameters_and_names()}
    arrays = {"input": inputs} | _snapshot(cell, "weights")
    cell.set_train(False)
    arrays["forward"] = cell(Tensor(inputs)).astype(ms.float32).asnumpy()
    arrays["target"] = rng.standard_normal(arrays["forward"].shape, dtype=np.float32)
    floating = inputs.dtype == np.float32
    cell.set_train(True)
    step = _TrainStep(cell, _update(weights, rate), floating)
    losses = []
    for i in range(CURVE):
        loss, outputs, gradients, _ = step(Tensor(inputs), Tensor(arrays["target"]))
        losses.append(float(loss.asnumpy()))
        if i == 0:
            arrays["training forward"] = outputs.asnumpy()
            if floating:
                arrays["gradient of input"] = gradients[0].astype(ms.float32).asnumpy()
                gradients = gradients[1]
            for weight, gradient in zip(weights, gradients, strict=True):
                arrays[f"gradient/{names[id(weight)]}"] = gradient.astype(ms.float32).asnumpy()
        if i == STEPS - 1:
            arrays |= _snapshot(cell, "after")
    return arrays | {"losses": np.array(losses, np.float32)}


def _update(weights: list[ms.Parameter], rate: float) -> Update:
    settings = TrainSettings(
        optimizer="momentum",
        momentum=OPTIMISER["momentum"],
        weight_decay=OPTIMISER["weight_decay"],
        decay_norm_and_bias=True,
    )
    rates = np.full(CURVE, rate, np.float32)
    return Update(OptimizerState(weights, settings, rates), weights, ())


def _set_precision(cell: nn.Cell, dtype: str) -> None:
    """Compute in `dtype` but for normalisations, as mixed precision does everywhere."""
    if dtype == "float32":
        return
    cell.to_float(getattr(ms, dtype))
    for _, inner in cell.cells_and_names():
        if isinstance(inner, nn.BatchNorm2d | nn.LayerNorm):
            inner.to_float(ms.float32)


def _liven(cell: nn.Cell, rng: np.random.Generator) -> None:
    """Move every vector (norms, statistics, biases) off its initial zeros and ones."""
    for name, parameter in cell.parameters_and_names():
        if len(parameter.shape) != 1:
            continue
        spread = rng.uniform(-0.3, 0.3, parameter.shape).astype(np.float32)
        centre = 1.0 if name.endswith(("gamma", "moving_variance", "norm.weight")) else 0.0
        parameter.set_data(Tensor(centre + spread, parameter.dtype))


def _inputs(inputs: Inputs, rng: np.random.Generator) -> np.ndarray:
    if inputs.high is not None:
        return rng.integers(0, inputs.high, inputs.shape).astype(np.int32)
    return rng.standard_normal(inputs.shape, dtype=np.float32)


def _snapshot(cell: nn.Cell, prefix: str) -> dict[str, np.ndarray]:
    return {f"{prefix}/{name}": p.asnumpy().copy() for name, p in cell.parameters_and_names()}


def _renamed(arrays: dict[str, np.ndarray], twin: Twin) -> dict[str, np.ndarray]:
    """Give the arrays of each group (weights, gradients ...) the twin's names."""
    groups: dict[str, dict[str, np.ndarray]] = {}
    renamed = {}
    for key, array in arrays.items():
        group, slash, name = key.partition("/")
        if slash:
            groups.setdefault(group, {})[name] = array
        else:
            renamed[key] = array
    for group, members in groups.items():
        for name, array in _twin_names(members, twin).items():
            renamed[f"{group}/{name}"] = array
    return renamed


def _twin_names(arrays: dict[str, np.ndarray], twin: Twin) -> dict[str, np.ndarray]:
    if twin.naming == "torch":
        return {_layer_name(name): array for name, array in arrays.items()}
    for naming in NAMINGS[twin.naming]:
        named = naming.renamed(arrays)
        if named is not None:
            return named
    raise KeyError(f"{twin.build}: a parameter has no name in {twin.naming}'s naming")


def _layer_name(name: str) -> str:
    """Return torch's name of a parameter under our own cell names.

    Tables are called weight there, norms have other leaves, and those of 5D tensors no inner cell.
    """
    cell, _, leaf = name.replace(".bn2d.", ".").rpartition(".")
    leaf = {"embedding_table": "weight", **NORM}.get(leaf, leaf)
    return f"{cell}.{leaf}".lstrip(".")
