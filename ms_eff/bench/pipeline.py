"""How fast the data pipeline is on its own: it must stay well ahead of the training step."""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from ms_eff.data.pipeline import batches
from ms_eff.data.registry import build
from ms_eff.data.settings import DataSettings

__all__ = ["measure"]


def measure(
    settings: DataSettings,
    *,
    split: str = "train",
    repeats: int = 5,
    max_batches: int = 200,
    seed: int = 0,
) -> dict[str, Any]:
    """Time reading batches through MindSpore's dataset while nothing else is done with them.

    A repeat is one epoch, or its first `max_batches`, with the pipeline's start included; one more
    comes first and is not counted (it warms up the file cache).

    Args:
        settings: the `data` block of a config.
        split: `train` (shuffled, augmented) or `test`.
        repeats: epochs timed.
        max_batches: batches timed of each.
        seed: of order and augmentation.

    Returns:
        `images_per_second` (median), its lowest and highest value over the repeats, `batch_ms`
        (median), and what was measured: `data`, `split`, `batch_size`, `image_shape`, `workers`,
        `augment`, `batches`, `repeats`.
    """
    data = build(settings)
    train = split == "train"
    source = data.train if train else data.test
    batch_size = settings.batch_size if train else settings.eval_batch_size or settings.batch_size
    # filled up rather than dropped: a small set still gives a batch
    epochs = [
        batches(source, batch_size=batch_size, epoch=epoch, seed=seed, train=train, drop_last=False)
        for epoch in range(repeats + 1)
    ]
    counted = min(max_batches, epochs[0].get_dataset_size())
    seconds = np.array([_seconds(epoch, counted) for epoch in epochs][1:])
    rates = counted * batch_size / seconds
    return {
        "data": data.name,
        "split": split,
        "batch_size": batch_size,
        "image_shape": list(data.image_shape),
        "augment": settings.augment if train else "none",
        "workers": source.workers,
        "batches": counted,
        "repeats": repeats,
        "images_per_second": float(np.median(rates)),
        "images_per_second_min": float(rates.min()),
        "images_per_second_max": float(rates.max()),
        "batch_ms": float(np.median(seconds) / counted * 1000.0),
    }


def _seconds(epoch: Any, count: int) -> float:
    start = time.perf_counter()
    rows = epoch.create_tuple_iterator(num_epochs=1)
    for _ in range(count):
        next(rows)
    elapsed = time.perf_counter() - start
    rows.stop()
    return elapsed
