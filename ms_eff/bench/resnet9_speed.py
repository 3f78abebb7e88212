"""ResNet-9's training step against torch's in one process: `python -m ms_eff.bench.resnet9_speed`.

Both sides start from the same weights and run in turns; what counts is the ratio of the two times,
paired round by round. Its parts are timed alike, which tells what the ratio comes from, and the
input pipeline by itself, which must stay ahead of the step. Run it in the repository: torch's
network is that of `cross_check`.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ms_eff.bench import environment
from ms_eff.bench.against_torch import ratio_row, told, torch_step
from ms_eff.bench.timers import compare
from ms_eff.errors import SetupError
from ms_eff.files import replacing
from ms_eff.runtime import DeviceSettings, setup

__all__ = ["LIMIT", "main", "measure"]

# ms_eff's time over torch's that is asked for
LIMIT = 1.5
_SIDE = 32


def measure(
    *, width: int = 64, batch: int = 256, form: str = "baseline", warmup: int = 3, runs: int = 5
) -> dict[str, Any]:
    """Time both sides on as many threads as this process may use cores.

    Args:
        width: of the network.
        batch: images a step, 3 x 32 x 32.
        form: `baseline` or `competition`.
        warmup: rounds thrown away; the first compiles.
        runs: rounds that count.

    Returns:
        `difference`: of the first step's loss, relative; `train_step`: times of both sides and
        their ratio; `parts`: the same for one operation each, forward and gradients;
        `images_per_second` of the step, and the `pipeline`'s.

    Raises:
        SetupError: torch or cross_check is missing.
    """
    from ms_eff import models

    network = models.build("resnet9", width=width, form=form)
    twin = _twin(network, width, form)
    rng = np.random.default_rng(0)
    images = rng.standard_normal((batch, 3, _SIDE, _SIDE), dtype=np.float32)
    labels = rng.integers(0, 10, batch)
    ours = _our_step(network, images, labels, warmup + runs)
    theirs = torch_step(
        twin, images, labels, lr=1e-6, momentum=0.9, nesterov=True, weight_decay=5e-4
    )
    first, expected = float(ours().asnumpy()), theirs()
    step = ratio_row(compare({"ms_eff": ours, "torch": theirs}, warmup, runs), LIMIT)
    return {
        "width": width,
        "batch": batch,
        "form": form,
        "threads": environment.cores(),
        "difference": abs(first - expected) / abs(expected),
        "train_step": step,
        "parts": {
            name: ratio_row(compare({"ms_eff": here, "torch": there}, warmup, runs))
            for name, here, there in _parts(width, batch, form, rng)
        },
        "images_per_second": 1000.0 * batch / step["ms_eff"]["median_ms"],
        "pipeline": _pipeline(batch),
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, write the results; return 1 if the limit is not kept, 2 for a user's mistake."""
    parser = argparse.ArgumentParser(prog="python -m ms_eff.bench.resnet9_speed")
    parser.add_argument("--output", type=Path, default=Path("results/resnet9_speed.json"))
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--form", choices=("baseline", "competition"), default="baseline")
    parser.add_argument("--runs", type=int, default=5)
    options = parser.parse_args(arguments)
    options.output.parent.mkdir(parents=True, exist_ok=True)  # before anything is measured
    setup(DeviceSettings())
    try:
        found = measure(
            width=options.width, batch=options.batch, form=options.form, runs=options.runs
        )
    except SetupError as error:
        print(f"resnet9_speed: {error}", file=sys.stderr)
        return 2
    words = sys.argv[1:] if arguments is None else arguments
    command = ["python", "-m", "ms_eff.bench.resnet9_speed", *words]
    results = {"environment": environment.describe(command, seed=0), **found}
    with replacing(options.output) as temporary:
        temporary.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    print(told(f"ResNet-9 width {options.width} batch {options.batch}", found["train_step"]))
    for name, row in found["parts"].items():
        print(told(f"  {name}, forward and gradients", row))
    print(
        f"pipeline alone: {found['pipeline']['images_per_second']:.0f} images/s, "
        f"training step: {found['images_per_second']:.0f}"
    )
    return 0 if found["train_step"]["met"] else 1


def _twin(network: Any, width: int, form: str) -> Any:
    """Return torch's network with the same weights."""
    try:
        import torch

        from cross_check.twins.resnet9 import plain_resnet9
    except ImportError as error:
        raise SetupError(
            f"the other side is torch, and {error.name} is missing: run this in the repository, "
            "after pip install -e '.[cross-check]'"
        ) from error
    from ms_eff.models.naming import NAMINGS

    torch.set_num_threads(environment.cores())
    twin = plain_resnet9(width, form=form)
    arrays = {p.name: p.asnumpy().copy() for p in network.get_parameters()}
    found = (naming.renamed(arrays) for naming in NAMINGS["torchvision"])
    named = next(arrays for arrays in found if arrays is not None)
    # torch counts batches besides
    twin.load_state_dict({k: torch.from_numpy(a) for k, a in named.items()}, strict=False)
    return twin


def _our_step(network: Any, images: np.ndarray, labels: np.ndarray, runs: int) -> Callable[[], Any]:
    import mindspore as ms

    from ms_eff.bench.steps import plain_step
    from ms_eff.train.settings import TrainSettings

    step = plain_step(network, TrainSettings(nesterov=True, decay_norm_and_bias=True), runs)
    step.set_train(True)
    inputs, targets = ms.Tensor(images), ms.Tensor(labels.astype(np.int32))
    return lambda: step(inputs, targets)[0]


def _parts(
    width: int, batch: int, form: str, rng: np.random.Generator
) -> Iterator[tuple[str, Callable[[], Any], Callable[[], Any]]]:
    """Yield (name, ours, torch's) for the operations on the largest maps, with gradients."""
    import torch
    from mindspore import nn

    from ms_eff.models.celu import CELU

    convolution = nn.Conv2d(width, 2 * width, 3, pad_mode="pad", padding=1)
    twin = torch.nn.Conv2d(width, 2 * width, 3, padding=1, bias=False)
    activation = ("ReLU", nn.ReLU(), torch.nn.ReLU())
    if form == "competition":
        activation = ("CELU", CELU(0.3), torch.nn.CELU(0.3))
    parts = (
        ("convolution", convolution, twin, width),
        ("batch normalisation", nn.BatchNorm2d(width), torch.nn.BatchNorm2d(width), width),
        (*activation, width),
        ("max pool", nn.MaxPool2d(2, 2), torch.nn.MaxPool2d(2), 2 * width),
    )
    for name, cell, module, channels in parts:
        values = rng.standard_normal((batch, channels, _SIDE, _SIDE), dtype=np.float32)
        yield name, _our_part(cell, values), _torch_part(module, values)


def _our_part(cell: Any, values: np.ndarray) -> Callable[[], Any]:
    import mindspore as ms

    from ms_eff.bench.part import WithGradients

    step, inputs = WithGradients(cell), ms.Tensor(values)
    return lambda: step(inputs)


def _torch_part(module: Any, values: np.ndarray) -> Callable[[], Any]:
    import torch

    inputs = torch.from_numpy(values).requires_grad_()

    def run() -> Any:
        inputs.grad = None
        module.zero_grad()
        module(inputs).sum().backward()
        return inputs.grad

    return run


def _pipeline(batch: int) -> dict[str, Any]:
    """Return how fast augmented images of that size come, with nothing done to them."""
    from ms_eff.bench.pipeline import measure as alone
    from ms_eff.data.settings import DataSettings

    settings = DataSettings(
        name="synthetic", image_size=_SIDE, train_size=max(5000, batch), batch_size=batch,
        augment="crop_flip",
    )  # fmt: skip
    return alone(settings)


if __name__ == "__main__":
    sys.exit(main())
