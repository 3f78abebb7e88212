"""Ranks of a family's members, and the plans made of them; NumPy only.

`ratio` is the number of times that all linear layers of the blocks together become smaller.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ms_eff.errors import PlanError
from ms_eff.methods.lowrank.budget import Candidate, allocate, reachable
from ms_eff.methods.lowrank.core import align_rank, break_even_rank, rank_for_ratio
from ms_eff.methods.lowrank.plan import LayerPlan, LowRankPlan
from ms_eff.models.parents import Shape

__all__ = [
    "block_shapes",
    "family_plan",
    "global_ranks",
    "highest_rank",
    "kept_weights",
    "uniform_ranks",
]

Shapes = Mapping[str, tuple[int, int]]
Ranks = dict[str, int | None]


def block_shapes(shape: Shape) -> dict[str, tuple[int, int]]:
    """Return (S, C) of every linear layer of the blocks, by name, in the order of the data."""
    return {
        f"{shape.blocks}.{i}.{name}": size
        for i in range(shape.depth)
        for name, size in shape.linears.items()
    }


def uniform_ranks(shapes: Shapes, ratio: float, divisor: int = 1) -> Ranks:
    """Return `floor(C S / (ratio (C + S)))` of each matrix (S, C), rounded down (2406.19995).

    Raises:
        PlanError: a matrix is too small for the ratio.

    >>> uniform_ranks({"mlp": (11008, 4096), "attention": (4096, 4096)}, 2.0)
    {'mlp': 1492, 'attention': 1024}
    """
    ranks: Ranks = {}
    for name, (S, C) in shapes.items():
        rank = align_rank(rank_for_ratio(C, S, ratio), divisor)
        if not rank:
            raise PlanError(
                f"ratio {ratio}: no rank of '{name}' ({S}, {C}) is low enough at divisor "
                f"{divisor}; lower the ratio, or the divisor"
            )
        ranks[name] = rank
    return ranks


def global_ranks(
    shapes: Shapes, losses: Mapping[str, NDArray[np.float64]], ratio: float, divisor: int = 1
) -> Ranks:
    """Return the ranks that lose least in all within one budget; None leaves a matrix whole.

    Args:
        shapes: (S, C) of each matrix.
        losses: what its ranks 1, 2, .. lose.
        ratio: of all weights together.
        divisor: of every rank.

    Raises:
        PlanError: the budget cannot be reached.

    >>> shapes = {"a": (4, 4), "b": (4, 4)}
    >>> global_ranks(shapes, {"a": np.array([9.0]), "b": np.array([1.0])}, 1.25)
    {'a': None, 'b': 1}
    """
    candidates = [_candidate(n, shape, losses[n], divisor) for n, shape in shapes.items()]
    dense = sum(S * C for S, C in shapes.values())
    if reachable(candidates) > dense / ratio:
        raise PlanError(
            f"ratio {ratio}: leaves {int(dense / ratio)} of {dense} weights, but "
            f"{reachable(candidates)} is the least at divisor {divisor}; lower the ratio"
        )
    chosen = allocate(candidates, int(dense / ratio))
    return {name: rank if rank is None else rank[0] for name, rank in chosen.items()}


def highest_rank(shape: tuple[int, int]) -> int:
    """Return the highest rank that makes a matrix (S, C) smaller; 0 if none does."""
    return break_even_rank(shape[1], shape[0])


def kept_weights(shapes: Shapes, ranks: Mapping[str, int | None]) -> int:
    """Return the weights that all matrices have at these ranks.

    >>> kept_weights({"a": (4, 6), "b": (4, 4)}, {"a": 2, "b": None})
    36
    """
    sizes = ((ranks[name], shape) for name, shape in shapes.items())
    return sum(S * C if rank is None else rank * (S + C) for rank, (S, C) in sizes)


def family_plan(
    shapes: Shapes, ranks: Mapping[str, int | None], settings: Mapping[str, Any]
) -> LowRankPlan:
    """Return the plan of a member; matrices that stay whole are not in it."""
    layers: Sequence[LayerPlan] = [
        LayerPlan(name, "dense", tuple(shape), (rank,))
        for name, shape in shapes.items()
        if (rank := ranks[name]) is not None
    ]
    return LowRankPlan(tuple(layers), settings)


def _candidate(
    name: str, shape: tuple[int, int], losses: NDArray[np.float64], divisor: int
) -> Candidate:
    S, C = shape
    ranks = np.arange(divisor, len(losses) + 1, divisor)
    return Candidate(name, S * C, ranks * (S + C), losses[ranks - 1], ranks[:, None])
