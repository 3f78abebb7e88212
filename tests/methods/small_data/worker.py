"""One worker of a data-parallel SAM run: `worker.py FOLDER`; rank 0 writes the weights there.

Started by `msrun` it takes its share of each batch; started alone, the whole of it.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from ms_eff import runtime

STEPS, BATCH = 3, 8


def main(folder: Path) -> None:
    """Train a small network without batch statistics, which each worker has its own of."""
    worker = runtime.setup(runtime.DeviceSettings(target="cpu"))
    from mindspore import Tensor, nn

    from ms_eff.methods.small_data import SAM, SAMSettings
    from ms_eff.train.optim import OptimizerState
    from ms_eff.train.settings import TrainSettings
    from ms_eff.train.step import Forward, Step, TrainStep

    rng = np.random.default_rng(0)
    model = nn.SequentialCell(nn.Dense(6, 8), nn.Tanh(), nn.Dense(8, 3))
    for weight in model.trainable_params():
        weight.set_data(Tensor(rng.standard_normal(weight.shape, dtype=np.float32)))
    step = Step(model, Forward(model, nn.CrossEntropyLoss()), tuple(model.trainable_params()))
    step = SAM(SAMSettings(rho=0.5)).change_step(step, "")
    settings = TrainSettings(lr=0.1, optimizer="momentum")
    state = OptimizerState(step.weights, settings, np.full(STEPS, 0.1, np.float32))
    cell = TrainStep(step, state, world_size=worker.size)
    share = slice(worker.rank * BATCH // worker.size, (worker.rank + 1) * BATCH // worker.size)
    for _ in range(STEPS):
        inputs = rng.standard_normal((BATCH, 6), dtype=np.float32)
        labels = rng.integers(0, 3, BATCH).astype(np.int32)
        cell(Tensor(inputs[share]), Tensor(labels[share]))
    if worker.rank == 0:
        arrays = {w.name: w.asnumpy() for w in step.weights}
        np.savez(folder / f"weights{worker.size}.npz", **arrays)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
