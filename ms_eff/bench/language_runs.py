"""Language models trained for a number of steps: what the experiments on plain text share."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from ms_eff.errors import DataError
from ms_eff.train.settings import TrainSettings

if TYPE_CHECKING:
    from mindspore import nn
    from rich.console import Console

    from ms_eff.data.base import DataSet
    from ms_eff.data.settings import DataSettings

__all__ = ["epochs_of", "recipe", "texts_of", "trained"]


def texts_of(paths: Sequence[Path]) -> list[Path]:
    """Return the files named, and the .txt files of folders, by name.

    Raises:
        DataError: there is none.
    """
    found = [f for p in paths for f in (sorted(p.glob("*.txt")) if p.is_dir() else [p])]
    if not found:
        raise DataError(f"--text {' '.join(map(str, paths))}: no .txt file there")
    return found


def recipe(lr: float, epochs: int) -> TrainSettings:
    """Return how the networks are trained: AdamW, a short warm-up, a cosine to 0."""
    return TrainSettings(
        epochs=epochs,
        optimizer="adamw",
        lr=lr,
        betas=(0.9, 0.95),
        weight_decay=0.1,
        schedule="cosine",
        warmup_epochs=0.05 * epochs,
        clip_norm=1.0,
        eval_every=epochs,
        save_every_steps=200,
        keep=1,
    )


def epochs_of(steps: int, batch: int, blocks: int) -> int:
    """Return how many times a text of so many blocks is begun in that many steps.

    >>> epochs_of(10, 8, 30)
    3
    """
    return math.ceil(steps * batch / blocks)


def trained(
    network: nn.Cell,
    data: DataSet,
    settings: DataSettings,
    folder: Path,
    *,
    steps: int,
    lr: float,
    seed: int,
    numbers: Mapping[str, int],
    console: Console | None = None,
) -> dict[str, Any]:
    """Train a GPT-2 to the end, or take up what an earlier call did; return its last row.

    Args:
        network: to train, in place.
        data: blocks of text.
        settings: what the trainer asks besides, `batch_size` above all.
        folder: of the run.
        steps: in all; every epoch sees as many blocks, rounded down to whole batches.
        lr: peak learning rate.
        seed: of which blocks are seen, and in which order.
        numbers: the network's arguments, for its checkpoints.
        console: where to tell what happens.
    """
    from ms_eff.train.feed import Feed
    from ms_eff.train.trainer import Trainer

    epochs = epochs_of(steps, settings.batch_size, len(data.train))
    last: dict[str, Any] = Trainer(
        network,
        Feed(data, settings, seed),
        recipe(lr, epochs),
        folder,
        description={"model": {"name": "gpt2", "args": dict(numbers)}, "plans": []},
        methods=[_share(seed, steps // epochs * settings.batch_size)],
        console=console,
    ).fit()[-1]
    return last


def _share(seed: int, size: int) -> Any:
    """Return a method that lets an epoch see so many blocks, drawn by seed and epoch."""
    from ms_eff.data.randomness import Stream, generator
    from ms_eff.methods.base import Method
    from ms_eff.section import Section

    class Share(Method):
        name: ClassVar[str] = "share"

        def subset_size(self, epoch: int, blocks: int) -> int:
            return min(size, blocks)

        def subset(self, epoch: int, indices: np.ndarray) -> np.ndarray:
            rng = generator(Stream.SUBSET, seed, epoch)
            return np.sort(rng.choice(indices, min(size, len(indices)), replace=False))

    return Share(Section(), seed)
