"""Which samples stand in which batch of which worker: closed forms, no MindSpore."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ms_eff.data.randomness import Stream, generator
from ms_eff.errors import DataError

__all__ = [
    "balanced_subset",
    "batch_indices",
    "by_length",
    "epoch_order",
    "held_out",
    "steps_per_epoch",
]


def steps_per_epoch(
    samples: int, batch_size: int, world_size: int = 1, drop_last: bool = True
) -> int:
    """Return the batches that each worker gets in one epoch.

    Args:
        samples: how many samples the epoch goes over, all workers together.
        batch_size: samples in a batch of one worker.
        world_size: number of workers.
        drop_last: leave out the samples that fill no whole batch on every worker; otherwise the
            last batch is filled up.

    >>> steps_per_epoch(1437, 64), steps_per_epoch(1437, 64, drop_last=False)
    (22, 23)
    """
    together = batch_size * world_size
    return samples // together if drop_last else -(-samples // together)


def epoch_order(
    indices: NDArray[np.int64], *, seed: int, epoch: int, shuffle: bool
) -> NDArray[np.int64]:
    """Return the samples in the order of that epoch: a function of (seed, epoch) alone.

    >>> epoch_order(np.arange(4), seed=0, epoch=0, shuffle=False).tolist()
    [0, 1, 2, 3]
    """
    return generator(Stream.ORDER, seed, epoch).permutation(indices) if shuffle else indices


def by_length(
    order: NDArray[np.int64],
    lengths: NDArray[np.int64],
    together: int,
    rng: np.random.Generator | None,
) -> NDArray[np.int64]:
    """Reorder an epoch so that samples of a step are of like length.

    The steps are as many as without. Those that fill no whole step stay at the end, so that which
    samples `drop_last` leaves out has nothing to do with their lengths.

    Args:
        order: (n,) samples in random order.
        lengths: (N,) of every sample of the split.
        together: samples of a step, all workers' together.
        rng: orders the steps; None leaves them in order of length (evaluation), all samples
            sorted.

    >>> by_length(np.arange(4), np.array([9, 1, 9, 1]), together=2, rng=None).tolist()
    [1, 3, 0, 2]
    """
    whole = len(order) if rng is None else len(order) // together * together
    body, rest = order[:whole], order[whole:]
    body = body[np.argsort(lengths[body], kind="stable")]
    if rng is not None:
        body = rng.permutation(body.reshape(-1, together)).ravel()
    return np.concatenate([body, rest])


def batch_indices(
    order: NDArray[np.int64], step: int, *, batch_size: int, rank: int = 0, world_size: int = 1
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Return the samples of one worker's batch, and which of them count.

    A step takes `batch_size * world_size` consecutive samples; the workers share them in order of
    rank, so that the samples of a step depend on the global batch size only. Places beyond the end
    are filled with samples from the start of the order (real pictures: batch statistics stay sane)
    and do not count.

    Returns:
        (B,) sample indices; (B,) False where the place is filling.

    >>> batch_indices(np.arange(5), 1, batch_size=3)
    (array([3, 4, 0]), array([ True,  True, False]))
    """
    start = (step * world_size + rank) * batch_size
    places = np.arange(start, start + batch_size)
    return order[places % len(order)], places < len(order)


def balanced_subset(labels: NDArray[np.int32], limit: int | None, key: str) -> NDArray[np.int64]:
    """Return the first `limit` samples, spread over the classes as evenly as they allow.

    Each class gives its first samples; a class that has fewer gives all, and the others make up.

    Args:
        labels: (N,) class of each sample.
        limit: how many samples; None takes all.
        key: the setting's name, for the error.

    Raises:
        DataError: there are fewer samples than `limit`.

    >>> balanced_subset(np.array([0, 0, 0, 1, 1, 1]), 4, "data.train_limit").tolist()
    [0, 1, 3, 4]
    """
    samples = len(labels)
    if limit is None or limit == samples:
        return np.arange(samples)
    if limit > samples:
        raise DataError(
            f"{key}: {limit} samples asked for, but there are {samples}; "
            f"lower it to {samples} or less, or leave it out"
        )
    by_class = np.argsort(labels, kind="stable")
    first_of_class = np.searchsorted(labels[by_class], labels[by_class])
    turn = np.empty(samples, np.int64)  # a sample's place within its class
    turn[by_class] = np.arange(samples) - first_of_class
    return np.sort(np.lexsort((labels, turn))[:limit])


def held_out(
    labels: NDArray[np.int32], train_limit: int | None, test_limit: int | None
) -> NDArray[np.int64]:
    """Return the training samples that `train_limit` leaves out, or the first of them.

    Args:
        labels: (N,) class of each training sample.
        train_limit: how many are trained on, as `balanced_subset` chooses them.
        test_limit: how many of the others, likewise; None takes all.

    Raises:
        DataError: none is left, or fewer than `test_limit` are.

    >>> held_out(np.array([0, 0, 0, 1, 1, 1]), 4, None).tolist()
    [2, 5]
    """
    trained = balanced_subset(labels, train_limit, "data.train_limit")
    rest = np.setdiff1d(np.arange(len(labels)), trained)
    if len(rest) == 0:
        raise DataError(
            f"data.test_split = held_out: data.train_limit = {train_limit} leaves none of the "
            f"{len(labels)} training samples out; lower it, or use data.test_split=test"
        )
    return rest[balanced_subset(labels[rest], test_limit, "data.test_limit")]
