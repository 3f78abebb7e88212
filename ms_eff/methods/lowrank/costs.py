"""What a layer costs, whole and in factors: weights and multiply-accumulates.

Biases are left out: a decomposed layer keeps them as they are. A rank may be given as a tuple of
numbers, or as rows of an array for many ranks at once.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ms_eff.methods.lowrank.tucker import tucker_params

__all__ = ["LayerTimes", "Positions", "macs_of", "weights_of"]

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Positions:
    """How often a layer's kernel is applied to one sample.

    Attributes:
        inner: pixels (or tokens) that come in.
        outer: those that go out.
    """

    inner: int
    outer: int


@dataclass(frozen=True)
class LayerTimes:
    """How long all calls of a layer take together in one run of the network, in nanoseconds.

    Attributes:
        dense: the layer as it is.
        ranks: its factors, by rank; of a convolution both channel modes have that rank.
    """

    dense: int
    ranks: Mapping[int, int]

    def at(self, rank: Any = None) -> Any:
        """Return the time at `rank`, given as `weights_of` takes it.

        >>> LayerTimes(9, {4: 5, 8: 7}).at(([8, 4],)).tolist()
        [7, 5]
        """
        if rank is None:
            return self.dense
        return np.array([self.ranks[int(r)] for r in rank[0]], dtype=np.int64)

    def knows(self, ranks: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Tell for each row of ranks whether it was timed."""
        return np.isin(ranks[:, 0], list(self.ranks)) & (ranks == ranks[:, :1]).all(axis=1)


def weights_of(kind: str, shape: Shape, rank: Any = None, branches: int = 1) -> Any:
    """Return the weights of a layer, or of its factors at `rank`, with a core of that many groups.

    >>> weights_of("dense", (1000, 2048)), weights_of("dense", (1000, 2048), (335,))
    (2048000, 1021080)
    """
    if rank is None:
        return math.prod(shape)
    if kind == "conv":
        whole = tucker_params(shape, (rank[0], rank[1]))
        core = math.prod(shape[2:]) * rank[0] * rank[1]
        return whole - core + core // branches
    return rank[0] * (shape[0] + shape[1])


def macs_of(
    kind: str, shape: Shape, positions: Positions, rank: Any = None, branches: int = 1
) -> Any:
    """Return the multiply-accumulates for one sample, of a layer or of its factors at `rank`.

    An embedding looks up and multiplies nothing until it has a second factor.

    >>> macs_of("conv", (64, 64, 3, 3), Positions(56 * 56, 28 * 28))
    28901376
    """
    if kind == "embedding":
        return positions.outer * rank[0] * shape[1] if rank is not None else 0
    if kind == "conv" and rank is not None:
        # only the first 1x1 sees the input's resolution: the core carries the stride
        first = shape[1] * rank[0]
        rest = weights_of(kind, shape, rank, branches) - first
        return positions.inner * first + positions.outer * rest
    # a strided 1x1 convolution strides in its first factor
    return positions.outer * weights_of(kind, shape, rank)
