"""One budget shared out over many layers by the error that each rank leaves.

The choice of a rank per layer is a knapsack: the lower convex hull of each layer's (cost, loss)
points makes it a greedy one, exact up to the last step; that one is the best of all layers, and
what it leaves over is spent on the best points that still fit. NumPy only.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Candidate", "allocate", "reachable", "spectrum_losses", "tail_energies"]

Array = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Candidate:
    """What one layer may become.

    Attributes:
        name: of the layer.
        dense_cost: its cost as it is; its loss then is 0.
        costs: (n,) costs of its decompositions.
        losses: (n,) what each of them loses.
        ranks: (n, 1) or (n, 2).
    """

    name: str
    dense_cost: int
    costs: Ints
    losses: Array
    ranks: Ints


@dataclass(frozen=True)
class _Frontier:
    """The points worth choosing: costs rise, losses fall, the layer as it is comes last."""

    costs: Ints
    losses: Array
    ranks: list[tuple[int, ...] | None]

    def hull(self) -> list[int]:
        """Return the indices of the lower convex hull, cheapest first."""
        kept: list[int] = []
        for i in range(len(self.costs)):
            while len(kept) > 1 and self.slope(kept[-2], kept[-1]) <= self.slope(kept[-1], i):
                kept.pop()
            kept.append(i)
        return kept

    def slope(self, low: int, high: int) -> float:
        """Return the loss saved by each unit of cost between two points."""
        saved = float(self.losses[low] - self.losses[high])
        return saved / float(self.costs[high] - self.costs[low])


def spectrum_losses(sigma: Array) -> Array:
    """Return the loss of ranks 1 .. n of a matrix with these singular values.

    The loss is `-log` of the share of energy kept (ours): additive over layers in series as their
    kept shares multiply, indifferent to a layer's scale (which a normalisation behind it undoes),
    and without bound as a layer nears zero, so that none is given up for the others.

    >>> spectrum_losses(np.array([3.0, 1.0])).round(4).tolist()
    [0.1054, 0.0]
    """
    kept = np.cumsum(sigma**2)
    if kept[-1] == 0:
        return np.zeros(len(sigma))
    return np.maximum(-np.log(kept / kept[-1]), 0.0)


def tail_energies(sigma: Array) -> Array:
    """Return the energy that ranks 1 .. n of a matrix with these singular values leave out.

    >>> tail_energies(np.array([3.0, 1.0])).tolist()
    [1.0, 0.0]
    """
    kept = np.cumsum(sigma**2)
    return np.maximum(kept[-1] - kept, 0.0)


def reachable(candidates: Sequence[Candidate]) -> int:
    """Return the smallest cost of all the layers together."""
    return sum(min([c.dense_cost, *c.costs.tolist()]) for c in candidates)


def allocate(candidates: Sequence[Candidate], budget: int) -> dict[str, tuple[int, ...] | None]:
    """Return the ranks that lose least within a budget; None leaves a layer as it is.

    Args:
        candidates: one a layer.
        budget: largest sum of costs.

    Raises:
        ValueError: `reachable` is above the budget.
    """
    if reachable(candidates) > budget:
        raise ValueError(f"budget: {budget} is below {reachable(candidates)}, the least reachable")
    frontiers = [_frontier(candidate) for candidate in candidates]
    chosen = [len(frontier.costs) - 1 for frontier in frontiers]
    over = sum(candidate.dense_cost for candidate in candidates) - budget
    # slopes rise towards the cheap end of a hull, so a layer's own steps come in order
    steps = sorted(
        (frontier.slope(low, high), layer, low, high)
        for layer, frontier in enumerate(frontiers)
        for low, high in itertools.pairwise(frontier.hull())
    )
    for _, layer, low, high in steps:
        saved = int(frontiers[layer].costs[high] - frontiers[layer].costs[low])
        if saved >= over:  # the last step need not be this one
            break
        chosen[layer] = low
        over -= saved
    if over > 0:
        over -= _close(frontiers, chosen, over)
    _spend(frontiers, chosen, -over)
    return {c.name: f.ranks[i] for c, f, i in zip(candidates, frontiers, chosen, strict=True)}


def _close(frontiers: list[_Frontier], chosen: list[int], over: int) -> int:
    """Save at least `over` in the one layer where that loses least; return what it saved."""
    best, layer, point = np.inf, -1, -1
    for i, (frontier, now) in enumerate(zip(frontiers, chosen, strict=True)):
        low = int(np.searchsorted(frontier.costs, frontier.costs[now] - over, side="right")) - 1
        lost = float(frontier.losses[low] - frontier.losses[now])
        if low >= 0 and lost < best:
            best, layer, point = lost, i, low
    saved = int(frontiers[layer].costs[chosen[layer]] - frontiers[layer].costs[point])
    chosen[layer] = point
    return saved


def _spend(frontiers: list[_Frontier], chosen: list[int], left: int) -> None:
    """Raise ranks, the largest saving of loss first, as long as one fits what is left over."""
    while True:
        best, layer, point = 0.0, -1, -1
        for i, (frontier, now) in enumerate(zip(frontiers, chosen, strict=True)):
            top = int(np.searchsorted(frontier.costs, frontier.costs[now] + left, side="right")) - 1
            saved = float(frontier.losses[now] - frontier.losses[top])
            if saved > best:
                best, layer, point = saved, i, top
        if layer < 0:
            return
        left -= int(frontiers[layer].costs[point] - frontiers[layer].costs[chosen[layer]])
        chosen[layer] = point


def _frontier(candidate: Candidate) -> _Frontier:
    cheaper = np.flatnonzero(candidate.costs < candidate.dense_cost)
    order = cheaper[np.lexsort((candidate.losses[cheaper], candidate.costs[cheaper]))]
    losses = candidate.losses[order]
    before = np.minimum.accumulate(np.append(np.inf, losses))[:-1]
    order = order[losses < before]
    ranks: list[tuple[int, ...] | None] = [tuple(row) for row in candidate.ranks[order].tolist()]
    return _Frontier(
        np.append(candidate.costs[order], candidate.dense_cost),
        np.append(candidate.losses[order], 0.0),
        [*ranks, None],
    )
