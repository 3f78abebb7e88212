"""Which samples are worth an epoch: the arithmetic of SwiftLearn and InfoBatch; no MindSpore."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "Passes",
    "cross_entropy",
    "gumbel_top",
    "ideal_speed_up",
    "kept",
    "movement",
    "probabilities",
    "prune",
    "top",
]

Floats = NDArray[np.floating]
Indices = NDArray[np.int64]


def movement(before: Floats, now: Floats) -> NDArray[np.float64]:
    """Return how far each sample's logits moved between two epochs (arXiv:2311.15134).

    Args:
        before: (N, C) logits of the earlier epoch, or (N, T, C) of every token.
        now: likewise, of the later one.

    Returns:
        (N,) L2 norms of the difference; with tokens, the mean of the tokens' norms.

    >>> movement(np.zeros((2, 2)), np.array([[3.0, 4.0], [0.0, 1.0]])).tolist()
    [5.0, 1.0]
    """
    norms = np.linalg.norm(now.astype(np.float64) - before.astype(np.float64), axis=-1)
    return np.asarray(norms.mean(axis=tuple(range(1, norms.ndim))))


def probabilities(metric: Floats, sigma: float) -> NDArray[np.float64]:
    """Return Pr = exp(sigma metric) / sum exp(sigma metric); (N,) to (N,), of any size.

    >>> probabilities(np.array([0.0, 1e6, 1e6]), sigma=1.0).tolist()
    [0.0, 0.5, 0.5]
    """
    exponents = sigma * np.asarray(metric, np.float64)
    weights = np.exp(exponents - exponents.max())
    return weights / weights.sum()


def kept(size: int, keep: float) -> int:
    """Return how many of `size` samples a share keeps: rounded, at least one.

    >>> kept(6920, 0.1), kept(3, 0.1)
    (692, 1)
    """
    return max(round(size * keep), 1)


def top(metric: Floats, count: int) -> Indices:
    """Return the `count` places with the largest values, ascending; of equals, the first.

    >>> top(np.array([1.0, 3.0, 2.0, 3.0]), 2).tolist()
    [1, 3]
    """
    return np.sort(np.argsort(-np.asarray(metric, np.float64), kind="stable")[:count])


def gumbel_top(
    metric: Floats, sigma: float, count: int, rng: np.random.Generator
) -> NDArray[np.int64]:
    """Draw `count` places by probability without replacement, ascending (arXiv:1903.06059).

    The largest sums of log-probability and Gumbel noise are such a draw; the normaliser of the
    probability is the same for all and is left out.
    """
    noise = rng.gumbel(size=len(metric))
    return top(sigma * np.asarray(metric, np.float64) + noise, count)


def prune(
    scores: Floats, count: int, rng: np.random.Generator
) -> tuple[Indices, NDArray[np.float32]]:
    """Drop samples of low loss at random, and let those that stay count for them.

    InfoBatch (arXiv:2303.04947) drops samples below the mean loss with a fixed probability, so
    that neither the number left nor the share that can be saved is free. For the same work as
    other policies both are given here (ours): with the share d = 1 - count / N to drop, the sqrt(d)
    N samples of lowest loss are prunable, and as large a share of them, sqrt(d), goes.

    Args:
        scores: (N,) losses when each sample was last trained on.
        count: how many stay.
        rng: source of the draw.

    Returns:
        (count,) places, ascending, and their (count,) weights: 1 above the threshold, below it
        the number of prunable samples over that of those which stay. The sum over all samples is
        then met in expectation.
    """
    size = len(scores)
    if count == size:
        return np.arange(size), np.ones(size, np.float32)
    # at least one of them stays, to count for the others
    prunable = max(round(size * math.sqrt(1 - count / size)), size - count + 1)
    order = np.argsort(np.asarray(scores, np.float64), kind="stable")
    low, high = order[:prunable], order[prunable:]
    stay = rng.choice(low, count - len(high), replace=False)
    weights = np.ones(size, np.float32)
    weights[stay] = prunable / len(stay)
    chosen = np.sort(np.concatenate([stay, high]))
    return chosen, weights[chosen]


def cross_entropy(logits: Floats, labels: NDArray[np.integer]) -> NDArray[np.float64]:
    """Return (N,) losses of (N, C) logits, natural logarithm.

    >>> cross_entropy(np.zeros((1, 2)), np.array([0])).round(4).tolist()
    [0.6931]
    """
    shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    losses: NDArray[np.float64] = np.log(np.exp(shifted).sum(axis=1))
    return losses - shifted[np.arange(len(labels)), labels]


@dataclass(frozen=True)
class Passes:
    """How often samples go through the network in a run, in closed form.

    Attributes:
        samples: N.
        epochs: E.
        full: epochs on everything, those of the warm-up.
        keep: share of the samples in the others.
        reevaluate_every: reduced epochs between two forwards over the whole set, or None.

    >>> passes = Passes(samples=1000, epochs=10, full=2, keep=0.1)
    >>> passes.trained, passes.evaluated, passes.steps(batch=32)
    (2800, 0, 96)
    """

    samples: int
    epochs: int
    full: int
    keep: float
    reevaluate_every: int | None = None

    @property
    def reduced(self) -> int:
        """Epochs on a share of the samples."""
        return max(self.epochs - self.full, 0)

    @property
    def trained(self) -> int:
        """Samples trained on, each as often as it is: full N + (E - full) round(N keep)."""
        full = min(self.full, self.epochs)
        return full * self.samples + self.reduced * kept(self.samples, self.keep)

    @property
    def evaluated(self) -> int:
        """Forwards that re-evaluation costs; none follows the last epoch, which would use it."""
        if self.reevaluate_every is None or self.reduced == 0:
            return 0
        return self.samples * ((self.reduced - 1) // self.reevaluate_every)

    def steps(self, batch: int) -> int:
        """Return full ceil(N / B) + (E - full) ceil(N keep / B), B samples a step."""
        full = min(self.full, self.epochs)
        few = kept(self.samples, self.keep)
        return full * -(-self.samples // batch) + self.reduced * -(-few // batch)


def ideal_speed_up(epochs: int, keep: float, full: int = 2) -> float:
    """Return E / (full + (E - full) keep): the gain if time were proportional to samples.

    >>> round(ideal_speed_up(10, 0.1), 2), round(ideal_speed_up(10, 0.3), 2)
    (3.57, 2.27)
    """
    return epochs / (full + max(epochs - full, 0) * keep)
