"""Dropout whose draws a checkpoint can put back to a point.

MindSpore's own generators cannot be: a resumed run would draw other masks than a whole one.
"""

from __future__ import annotations

import math

import mindspore as ms
import numpy as np
from mindspore import Parameter, Tensor, nn, ops

__all__ = ["Dropout", "Masks"]

# rows of the two tables: primes, so that a pair of rows comes back after their product only
_ROWS = (1021, 1019)
# rows between the beginnings of two layers: a prime as well
_APART = 7919


class Masks:
    """Two tables of random zeros and scaled ones, shared by all layers of a network.

    A row of a mask is the product of a row of each; each table keeps the square root of the share
    that the mask keeps. The tables are always the same, so that they need not be saved: a seed
    says where in them a network begins.

    Args:
        dim: channels of a row.
        rate: share of the values that becomes 0, p.
        seed: of the network.
    """

    def __init__(self, dim: int, rate: float, seed: int) -> None:
        keep = math.sqrt(1.0 - rate)
        rng = np.random.default_rng(0)
        drawn = [rng.random((rows, dim), dtype=np.float32) < keep for rows in _ROWS]
        self.tables = tuple(Tensor(table.astype(np.float32) / np.float32(keep)) for table in drawn)
        self._start = int(np.random.default_rng(seed).integers(math.prod(_ROWS)))

    def next_start(self) -> int:
        """Return where the next layer begins, far from where the others do."""
        self._start = (self._start + _APART) % math.prod(_ROWS)
        return self._start


class Dropout(nn.Cell):
    """Set values to 0 with probability p and scale the others by 1 / (1 - p), in training only.

    How many rows have been drawn is a parameter, `drawn`, which is saved with the weights and
    never trained.

    Args:
        masks: where the draws come from.
    """

    def __init__(self, masks: Masks) -> None:
        super().__init__()
        self.first, self.second = masks.tables
        start = Tensor(masks.next_start(), ms.int32)
        self.drawn = Parameter(start, name="drawn", requires_grad=False)
        self.gather = ops.Gather()

    def construct(self, x: Tensor) -> Tensor:
        """Return a tensor of the shape of `x`, (..., dim)."""
        if not self.training:
            return x
        rows = math.prod(x.shape[:-1])
        index = self.drawn + ops.arange(rows).astype(ms.int32)
        first = self.gather(self.first, index % _ROWS[0], 0)
        second = self.gather(self.second, index % _ROWS[1], 0)
        mask = ops.stop_gradient(ops.reshape(first * second, x.shape)).astype(x.dtype)
        following = (self.drawn + rows) % math.prod(_ROWS)
        return ops.depend(x * mask, ops.assign(self.drawn, following))
