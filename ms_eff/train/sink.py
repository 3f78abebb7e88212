"""Data sinking: the device takes batches from its own queue, and the host waits once an epoch.

MindSpore offers this on Ascend and GPU only, so no CPU test runs the real queue; the test of this
file puts a plain loop in the place of `mindspore.data_sink`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

import mindspore as ms
import numpy as np

from ms_eff.errors import ConfigError

if TYPE_CHECKING:
    from ms_eff.train.step import TrainStep
    from ms_eff.train.trainer import Trainer

__all__ = ["require_queue", "sunk_steps"]


def sunk_steps(
    trainer: Trainer, cell: TrainStep, indices: np.ndarray, steps: int
) -> Iterator[tuple[float, int]]:
    """Run the rest of an epoch through the device's queue, several steps a call.

    The steps of a call are the greatest common divisor of those left and `train.sink_size` (else
    `train.log_every`), so that no sample is left over and one graph serves the whole epoch.

    Yields:
        (sum of losses, samples) of every call, with its steps counted: between two of them the
        weights are not at the host's. Only the last loss is known, and stands for all of them.

    Raises:
        ConfigError: batches have several lengths.
    """
    progress, feed = trainer.progress, trainer.feed
    dataset = feed.train_dataset(progress.epoch, indices, progress.batch)
    lengths = feed.data.train.lengths
    if lengths is not None and len(np.unique(lengths)) > 1:
        raise ConfigError(
            "train.sink = true: the queue takes batches of one shape; give data.buckets one "
            "length, or use train.sink=false"
        )
    dataset = dataset.project(list(feed.data.train.columns))
    settings = trainer.settings
    size = math.gcd(steps - progress.batch, settings.sink_size or settings.log_every)
    cell.set_train(True)
    run = ms.data_sink(cell, dataset, sink_size=size)
    for _ in range((steps - progress.batch) // size):
        loss, _, rate = run()
        last = float(loss.asnumpy())
        for _ in range(size):
            trainer.count_step(last, float(rate.asnumpy()))
        yield last * size, feed.settings.batch_size * size


def require_queue() -> None:
    """Raise ConfigError unless the device has a queue."""
    if not _has_queue():
        raise ConfigError("train.sink = true: the CPU has no data queue; use train.sink=false")


def _has_queue() -> bool:
    return ms.get_context("device_target") != "CPU"
