"""The batches of a run: where data set, settings, seed and worker come together."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from mindspore import Tensor

from ms_eff.data.base import DataSet, Split
from ms_eff.data.pipeline import BatchDataset, batches, steps_per_epoch
from ms_eff.data.settings import DataSettings
from ms_eff.errors import ConfigError
from ms_eff.runtime import Worker
from ms_eff.train.workers import summed

__all__ = ["Batches", "Feed"]

Batches = Iterator[tuple[Tensor, Tensor, Tensor]]
"""(inputs, labels, indices) of each batch; index -1 marks padding."""


@dataclass(frozen=True)
class Feed:
    """Gives the batches of training, evaluation and prediction."""

    data: DataSet
    settings: DataSettings
    seed: int = 0
    worker: Worker = field(default_factory=Worker)

    def steps(self, samples: int) -> int:
        """Return how many training steps so many samples make on each worker.

        Raises:
            ConfigError: a worker's last batch could hold nothing but filling, whose loss is NaN.
        """
        together = self.settings.batch_size * self.worker.size
        if self.worker.size > 1 and not self.settings.drop_last and samples % together:
            raise ConfigError(
                f"data.drop_last = false: {samples} samples do not share out evenly over "
                f"{self.worker.size} workers at batch {self.settings.batch_size}; "
                "use drop_last=true, or one worker"
            )
        return steps_per_epoch(
            samples, self.settings.batch_size, self.worker.size, self.settings.drop_last
        )

    def train(self, epoch: int, indices: np.ndarray, start_batch: int = 0) -> Batches:
        """Give the shuffled, augmented batches of an epoch, from `start_batch` on."""
        return self.train_dataset(epoch, indices, start_batch).create_tuple_iterator(num_epochs=1)

    def train_dataset(self, epoch: int, indices: np.ndarray, start_batch: int = 0) -> BatchDataset:
        """Give the same as a MindSpore dataset with the columns image, label, index."""
        return batches(
            self.data.train,
            batch_size=self.settings.batch_size,
            epoch=epoch,
            seed=self.seed,
            indices=indices,
            start_batch=start_batch,
            rank=self.worker.rank,
            world_size=self.worker.size,
            drop_last=self.settings.drop_last,
            workers=self.settings.workers,
        )

    def test(self) -> Batches:
        """Give this worker's share of the test split."""
        return self._plain(self.data.test, None, self.worker)

    @property
    def test_batches(self) -> int:
        """How many batches each worker's share of the test split makes."""
        size = self.settings.eval_batch_size or self.settings.batch_size
        return steps_per_epoch(len(self.data.test), size, self.worker.size, drop_last=False)

    def damaged(self) -> int | None:
        """Return how many training files all workers have found damaged; None: they are errors."""
        if self.settings.corrupt != "skip":
            return None
        split = self.data.train
        found = np.isin(np.arange(len(split)), list(split.damaged))
        return int((summed(found) > 0).sum())  # one that several have met is one

    def chosen(self, indices: np.ndarray) -> Batches:
        """Give training samples without augmentation, all of them to every worker."""
        return self._plain(self.data.train, indices, Worker())

    def _plain(self, split: Split, indices: np.ndarray | None, worker: Worker) -> Batches:
        return batches(
            split,
            batch_size=self.settings.eval_batch_size or self.settings.batch_size,
            train=False,
            indices=indices,
            rank=worker.rank,
            world_size=worker.size,
            workers=self.settings.workers,
        ).create_tuple_iterator(num_epochs=1)
