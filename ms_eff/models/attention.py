"""Multi-head self-attention, written so that MindSpore's CPU kernels run it fast."""

from __future__ import annotations

import math

import mindspore as ms
import numpy as np
from mindspore import nn, ops

from ms_eff.models.initial import projection

__all__ = ["Attention"]


class Attention(nn.Cell):
    """Multi-head self-attention (arXiv:1706.03762): one layer to q, k and v, one out.

    Args:
        rng: source of the initial weights.
        dim: channels of the input and of the output.
        heads: number of heads; divides `dim`.
    """

    def __init__(self, rng: np.random.Generator, dim: int, heads: int) -> None:
        super().__init__()
        self.dim, self.heads, self.head_dim = dim, heads, dim // heads
        self.qkv = projection(rng, dim, 3 * dim)
        self.proj = projection(rng, dim, dim)
        self.scale = 1.0 / math.sqrt(self.head_dim)
        # splitting before transposing is several times faster than indexing afterwards
        self.split = ops.Split(2, 3)
        self.scores = ops.BatchMatMul(transpose_b=True)
        self.mix = ops.BatchMatMul()
        self.softmax = ops.Softmax(-1)

    def construct(self, x: ms.Tensor) -> ms.Tensor:
        """Map ``(B, N, dim)`` to ``(B, N, dim)``."""
        tokens = x.shape[1]
        q, k, v = self.split(self.qkv(x))
        weights = self.softmax(self.scores(self._heads(q) * self.scale, self._heads(k)))
        y = self.mix(weights, self._heads(v))
        y = ops.transpose(y, (0, 2, 1, 3))
        return self.proj(ops.reshape(y, (-1, tokens, self.dim)))

    def own_macs(self, inputs: list[tuple[int, ...]], output: tuple[int, ...]) -> int:
        """Return the multiply-accumulates of the two products: 2 N^2 dim an image."""
        batch, tokens, _ = output
        return 2 * batch * tokens**2 * self.dim

    def _heads(self, x: ms.Tensor) -> ms.Tensor:
        """Bring ``(B, N, dim)`` to ``(B, heads, N, head_dim)``."""
        x = ops.reshape(x, (-1, x.shape[1], self.heads, self.head_dim))
        return ops.transpose(x, (0, 2, 1, 3))
