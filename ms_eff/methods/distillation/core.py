"""The arithmetic of distillation: schedules, draws, closed forms; no MindSpore."""

from __future__ import annotations

import math
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from ms_eff.data.randomness import Stream, generator

__all__ = [
    "Purpose",
    "annealing_factor",
    "draw_layers",
    "equivalent_smoothing",
    "first_phase",
    "gumbel_noise",
    "heads_of",
    "most_masked",
    "rounds_before",
    "special_ids",
    "stream",
]


class Purpose(IntEnum):
    """What random numbers of a run are for; addresses never overlap."""

    LAYERS = 0
    STUDENT_MASKS = 1
    GENERATOR_MASKS = 2
    GENERATOR_BATCHES = 3
    WARMUP_MASKS = 4
    WARMUP_BATCHES = 5
    NOISE = 6


def stream(purpose: Purpose, seed: int, number: int = 0) -> np.random.Generator:
    """Return the numbers of one purpose; `number` is an epoch, a step or a round."""
    return generator(Stream.DISTILLATION, seed, int(purpose), number)


def first_phase(epochs: int, share: float) -> int:
    """Return how many of the epochs are annealing's first phase; one is left for the second.

    >>> first_phase(40, 0.75), first_phase(2, 0.75)
    (30, 1)
    """
    return min(max(round(epochs * share), 1), epochs - 1)


def annealing_factor(epoch: int, epochs: int, steps: int) -> float:
    """Return phi = t / T_max of an epoch, t rising from 1 to T_max (arXiv:2104.07163, equation 3).

    Args:
        epoch: of the first phase, from 0.
        epochs: of the first phase.
        steps: T_max. Where there are fewer epochs, some t are left out, never the last.

    >>> [annealing_factor(epoch, 30, 10) for epoch in (0, 2, 3, 29)]
    [0.1, 0.1, 0.2, 1.0]
    """
    return -(-(epoch + 1) * steps // epochs) / steps


def equivalent_smoothing(alpha: float, certainty: float, classes: int) -> float:
    """Return the label smoothing that equals TF-reg: alpha K (1 - a) / (K - 1).

    TF-reg (arXiv:1909.11723) trains on y' = (1 - alpha) y + alpha p, p being a on the label and
    (1 - a) / (K - 1) elsewhere; both put as much on every wrong class, so they are the same.

    Args:
        alpha: of TF-reg.
        certainty: a.
        classes: K.

    >>> equivalent_smoothing(0.5, 0.25, 4)
    0.5
    """
    return alpha * classes * (1 - certainty) / (classes - 1)


def draw_layers(layers: int, wanted: int, rng: np.random.Generator) -> NDArray[np.int32]:
    """Return that many of the layers without replacement, ascending (arXiv:2109.10164).

    >>> draw_layers(3, 3, np.random.default_rng(0)).tolist()
    [0, 1, 2]
    """
    return np.sort(rng.choice(layers, wanted, replace=False)).astype(np.int32)


def most_masked(length: int, share: float) -> int:
    """Return how many of up to `length` tokens are masked at most: floor(share L + 1/2), or 1.

    >>> most_masked(10, 0.25), most_masked(4, 1.0)
    (3, 4)
    """
    return min(max(math.floor(share * length + 0.5), 1), length)


def rounds_before(steps: int, every: int) -> int:
    """Return how many rounds precede so many student steps, a round before each `every` of them.

    >>> [rounds_before(steps, 100) for steps in (0, 1, 100, 101)]
    [0, 1, 1, 2]
    """
    return -(-steps // every)


def gumbel_noise(size: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """Return standard Gumbel deviates, -log(-log(u))."""
    return rng.gumbel(size=size).astype(np.float32)


def special_ids(
    ids: NDArray[np.integer], lengths: NDArray[np.integer], check: int = 1000
) -> tuple[int, ...]:
    """Return the tokens that frame every text: one at all beginnings, one at all ends (ours).

    These are no words, and are not masked. Text without a frame has none.

    Args:
        ids: (N, L) of the texts.
        lengths: (N,) how many of each are no padding.
        check: texts to look at.

    >>> special_ids(np.array([[2, 7, 8, 3], [2, 9, 3, 0]]), np.array([4, 3]))
    (2, 3)
    >>> special_ids(np.array([[5, 7], [6, 8]]), np.array([2, 2]))
    ()
    """
    ids, lengths = ids[:check], lengths[:check]
    ends = (ids[:, 0], ids[np.arange(len(ids)), lengths - 1])
    return tuple(sorted({int(end[0]) for end in ends if len(ids) > 1 and (end == end[0]).all()}))


def heads_of(dim: int) -> int:
    """Return how many attention heads a width has: of 64 channels, or next to that.

    >>> heads_of(384), heads_of(1600), heads_of(24)
    (6, 25, 1)
    """
    heads = max(dim // 64, 1)
    while dim % heads:
        heads -= 1
    return heads
