"""From a split to a MindSpore dataset: one epoch, whole batches, prepared ahead.

The dataset's items are whole batches, so that MindSpore's per-row machinery runs once a batch. One
pipeline thread asks the split for them; where a batch is worth more threads they share its samples.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import mindspore.dataset as ds
import numpy as np
from numpy.typing import NDArray

from ms_eff.data.base import Batch, Split
from ms_eff.data.order import batch_indices, by_length, epoch_order, steps_per_epoch
from ms_eff.data.randomness import RngKey, Stream, generator
from ms_eff.errors import ConfigError, DataError

__all__ = ["BatchDataset", "batches"]

# batches held ready: 2 to 16 (MindSpore's default, 3 GB at 256 x 3 x 224 x 224), within this size
PREFETCH_BYTES = 256 * 2**20
# the label of filling in training: cross entropy leaves it out, as torch's default does
IGNORED = -100
# samples that a thread takes at a time: a batch ends when its slowest thread does
CHUNK = 8


def batches(
    split: Split,
    *,
    batch_size: int,
    epoch: int = 0,
    seed: int = 0,
    train: bool = True,
    shuffle: bool | None = None,
    indices: NDArray[np.int64] | None = None,
    start_batch: int = 0,
    rank: int = 0,
    world_size: int = 1,
    drop_last: bool | None = None,
    workers: int | None = None,
    with_index: bool = True,
) -> BatchDataset:
    """Return one epoch of a split as a MindSpore dataset of whole batches.

    Order and augmentation are functions of (seed, epoch) and the sample: an epoch entered at
    `start_batch` gives the rest of the whole epoch bit for bit, whatever `workers` is; and the
    samples of a step depend on `batch_size * world_size` only.

    Args:
        split: where samples come from.
        batch_size: samples in a batch of this worker.
        epoch: from 0.
        seed: of order and augmentation.
        train: with augmentation.
        shuffle: None: as `train`.
        indices: (n,) the samples to go over; None: all.
        start_batch: batches to leave out at the beginning.
        rank: this worker of a data-parallel job.
        world_size: workers of that job; each gets the same number of batches.
        drop_last: leave out samples that fill no whole batch; None: as `train`. Otherwise the last
            batch is filled up, and its filling has index -1.
        workers: threads that prepare a batch; None: as the split says.
        with_index: append the column `index`, (B,) int32: the sample's number, -1 if the place must
            not be counted (filling; in evaluation also the stand-in of a damaged picture).

    Returns:
        the split's columns, `image` (B, C, H, W) float32 and `label` (B,) int32, and `index`. Where
        the split has `lengths`, a step has the longest of its samples, on every worker.

    Raises:
        ConfigError: an argument is out of range.
        DataError: the samples fill no batch.
    """
    chosen = _checked_indices(split, indices)
    drop_last = train if drop_last is None else drop_last
    steps = steps_per_epoch(len(chosen), batch_size, world_size, drop_last)
    _check(split, len(chosen), batch_size, start_batch, rank, world_size, steps)
    if not with_index and not drop_last and len(chosen) % (batch_size * world_size):
        raise ConfigError(
            "batches: with_index=False cannot tell samples from filling in the last batch; "
            "use with_index=True or drop_last=True"
        )
    shuffle = train if shuffle is None else shuffle
    order = epoch_order(chosen, seed=seed, epoch=epoch, shuffle=shuffle)
    together = batch_size * world_size
    if split.lengths is not None:
        rng = generator(Stream.ORDER, seed, epoch, sample=1) if shuffle else None
        order = by_length(order, split.lengths, together, rng)
    source = _Source(
        split,
        order=order,
        steps=range(start_batch, steps),
        place=partial(batch_indices, batch_size=batch_size, rank=rank, world_size=world_size),
        together=together,
        key=(seed, epoch) if train else None,
        workers=split.workers if workers is None else workers,
        with_index=with_index,
    )
    sample_bytes = 4 * int(np.prod(split.image_shape))
    return BatchDataset(source, prefetch=_prefetch(batch_size * sample_bytes))


class BatchDataset(ds.GeneratorDataset):
    """A dataset of whole batches that passes on the errors of its source as they were raised.

    MindSpore wraps what a Python source raises into a RuntimeError of some twenty lines; iterating
    over this dataset raises the original, such as the DataError that names a damaged picture.
    """

    def __init__(self, source: _Source, prefetch: int) -> None:
        super().__init__(
            source,
            list(source.columns),
            shuffle=False,
            num_parallel_workers=1,
            python_multiprocessing=False,
        )
        self._prefetch = prefetch

    def create_tuple_iterator(self, *args: Any, **kwargs: Any) -> _Rows:
        """Return an iterator over lists, one entry a column; arguments as in MindSpore."""
        return self._rows(partial(super().create_tuple_iterator, *args, **kwargs))

    def create_dict_iterator(self, *args: Any, **kwargs: Any) -> _Rows:
        """Return an iterator over dictionaries by column; arguments as in MindSpore."""
        return self._rows(partial(super().create_dict_iterator, *args, **kwargs))

    def _rows(self, create: Any) -> _Rows:
        # the queue's length is a global of MindSpore's, read when an iterator is made
        before = ds.config.get_prefetch_size()
        ds.config.set_prefetch_size(self._prefetch)
        try:
            return _Rows(create(), self.source)
        finally:
            ds.config.set_prefetch_size(before)


class _Rows:
    """An iterator of MindSpore's that raises the source's own errors."""

    def __init__(self, rows: Any, source: _Source) -> None:
        self._inner = rows
        self._source = source
        self._stopped = False

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        if self._stopped:
            raise StopIteration
        try:
            return next(self._inner)
        except RuntimeError:
            if self._source.failure is not None:
                raise self._source.failure from None
            raise

    def stop(self) -> None:
        """End the pipeline before its last batch and free what it holds ready."""
        self._stopped = True
        self._inner.stop()


class _Source:
    """What MindSpore's thread calls: item k is the epoch's batch number `steps[k]`."""

    def __init__(
        self,
        split: Split,
        *,
        order: NDArray[np.int64],
        steps: range,
        place: partial[tuple[NDArray[np.int64], NDArray[np.bool_]]],
        together: int,
        key: RngKey | None,
        workers: int,
        with_index: bool,
    ) -> None:
        self.columns = (*split.columns, "index") if with_index else split.columns
        self.failure: Exception | None = None
        self._split = split
        self._order = order
        self._steps = steps
        self._place = place
        self._together = together
        self._key = key
        self._with_index = with_index
        self._pool = ThreadPoolExecutor(workers, "ms_eff-data") if workers > 1 else None

    def __len__(self) -> int:
        return len(self._steps)

    def __getitem__(self, item: int) -> Batch:
        try:
            return self._row(self._steps[item])
        except Exception as error:
            self.failure = error
            raise

    def _row(self, step: int) -> Batch:
        samples, counts = self._place(self._order, step)
        arrays = self._arrays(samples)
        if self._split.lengths is not None:
            everybody = self._order[step * self._together : (step + 1) * self._together]
            arrays = self._split.cut(arrays, int(self._split.lengths[everybody].max()))
        if not self._with_index:
            return arrays
        if self._key is None and self._split.damaged:  # known only now that they were decoded
            counts &= ~np.isin(samples, list(self._split.damaged))
        if self._key is not None and not counts.all():  # filling must not be learned from
            learned = counts.reshape(-1, *(1,) * (arrays[-1].ndim - 1))
            arrays = (*arrays[:-1], np.where(learned, arrays[-1], IGNORED).astype(np.int32))
        return (*arrays, np.where(counts, samples, -1).astype(np.int32))

    def _arrays(self, samples: NDArray[np.int64]) -> Batch:
        if self._pool is None:
            return self._split.batch(samples, self._key)
        chunks = [samples[at : at + CHUNK] for at in range(0, len(samples), CHUNK)]
        parts = list(self._pool.map(lambda chunk: self._split.batch(chunk, self._key), chunks))
        return tuple(np.concatenate(column) for column in zip(*parts, strict=True))


def _prefetch(batch_bytes: int) -> int:
    return min(max(PREFETCH_BYTES // batch_bytes, 2), 16)


def _checked_indices(split: Split, indices: NDArray[np.int64] | None) -> NDArray[np.int64]:
    if indices is None:
        return np.arange(len(split))
    chosen = np.asarray(indices, np.int64)
    if len(chosen) and not 0 <= chosen.min() <= chosen.max() < len(split):
        raise ConfigError(
            f"batches: indices from {chosen.min()} to {chosen.max()}, but the split holds samples "
            f"0 to {len(split) - 1}"
        )
    return chosen


def _check(
    split: Split,
    samples: int,
    batch_size: int,
    start_batch: int,
    rank: int,
    world_size: int,
    steps: int,
) -> None:
    if not 0 <= rank < world_size:
        raise ConfigError(f"batches: rank {rank} must be in 0 to world_size - 1 = {world_size - 1}")
    if steps == 0:
        raise DataError(
            f"data.batch_size: {samples} of {len(split)} samples fill no whole batch of "
            f"{batch_size} on {world_size} worker(s); lower batch_size or set drop_last=false"
        )
    if not 0 <= start_batch < steps:
        raise ConfigError(
            f"batches: start_batch {start_batch} must be in 0 to {steps - 1}, "
            f"for the epoch has {steps} batches"
        )
