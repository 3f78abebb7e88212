"""Self-attention with shared queries, keys and values: one core for every layout of heads."""

from __future__ import annotations

import math

import mindspore as ms
import numpy as np
from mindspore import nn, ops

from ms_eff.models.heads import HeadLayout, head_layout
from ms_eff.models.initial import projection

__all__ = ["Attention", "AttentionCore"]


class AttentionCore(nn.Cell):
    """What attention does between its two dense layers (arXiv:1706.03762, 2311.03426).

    The keys are the batch of the products: all queries that meet a key are stacked below each
    other as rows of one matrix, so that shared keys and values are never copied. Shared queries
    have to be: MindSpore's batched product broadcasts no axes on a CPU. The copies are as large as
    the queries of plain attention, and smaller than the scores.

    Args:
        layout: which query meets which key and value.
        head_dim: channels of a head.
    """

    def __init__(self, layout: HeadLayout, head_dim: int) -> None:
        super().__init__()
        self.heads, self.head_dim = layout.heads, head_dim
        self.queries, self.keys = layout.queries, layout.keys
        self.copies, self.interleaved = layout.query_copies, layout.interleaved
        self.scale = 1.0 / math.sqrt(head_dim)
        self.parts = _Parts((self.queries * head_dim, self.keys * head_dim))
        self.scores = ops.BatchMatMul(transpose_b=True)
        self.mix = ops.BatchMatMul()
        self.softmax = ops.Softmax(-1)

    def construct(
        self, qkv: ms.Tensor, mask: ms.Tensor | None = None
    ) -> tuple[ms.Tensor, ms.Tensor]:
        """Attend.

        Args:
            qkv: ``(B, N, (#Q + 2 #KV) head_dim)``: all queries, then all keys, then all values.
            mask: added to the scores, broadcast to ``(B, heads, N, N)`` with one axis for all
                heads; None attends everywhere. See `ms_eff.models.masks`.

        Returns:
            ``(B, N, heads * head_dim)``, heads in order, and the attention ``(B, heads, N, N)``,
            heads sorted by their key.
        """
        tokens = qkv.shape[1]
        q, k, v = self.parts(qkv)
        q = self._stacked(self._heads(q * self.scale, self.queries))
        scores = self.scores(q, self._heads(k, self.keys))
        weights = ops.reshape(scores, (-1, self.heads, tokens, tokens))
        if mask is not None:
            weights = weights + mask
        weights = self.softmax(weights)
        rows = ops.reshape(weights, (-1, self.keys, self.heads // self.keys * tokens, tokens))
        y = self._in_order(self.mix(rows, self._heads(v, self.keys)), tokens)
        return ops.reshape(y, (-1, tokens, self.heads * self.head_dim)), weights

    def own_macs(self, inputs: list[tuple[int, ...]], output: tuple[int, ...]) -> int:
        """Return the multiply-accumulates of the two products: sharing does not change them."""
        batch, tokens, channels = output
        return 2 * batch * tokens**2 * channels

    def _heads(self, x: ms.Tensor, count: int) -> ms.Tensor:
        """Bring ``(B, N, count * head_dim)`` to ``(B, count, N, head_dim)``."""
        x = ops.reshape(x, (-1, x.shape[1], count, self.head_dim))
        return ops.transpose(x, (0, 2, 1, 3))

    def _stacked(self, q: ms.Tensor) -> ms.Tensor:
        """Stack the queries of each key: ``(B, #Q, N, d)`` to ``(B, #KV, h / #KV * N, d)``."""
        tokens = q.shape[2]
        outer, inner = self.copies
        if outer * inner > 1:
            q = ops.reshape(q, (-1, 1, self.queries, 1, tokens * self.head_dim))
            q = ops.tile(q, (1, outer, 1, inner, 1))
        return ops.reshape(q, (-1, self.keys, self.heads // self.keys * tokens, self.head_dim))

    def _in_order(self, y: ms.Tensor, tokens: int) -> ms.Tensor:
        """Bring ``(B, #KV, h / #KV * N, d)`` to ``(B, N, ...)`` with the heads in order."""
        if self.interleaved:
            y = ops.reshape(y, (-1, self.keys, self.heads // self.keys, tokens, self.head_dim))
            return ops.transpose(y, (0, 3, 2, 1, 4))
        return ops.transpose(ops.reshape(y, (-1, self.heads, tokens, self.head_dim)), (0, 2, 1, 3))


class Attention(nn.Cell):
    """Self-attention: one dense layer to queries, keys and values, the core, one layer out.

    Args:
        rng: source of the initial weights.
        dim: channels of the input and of the output.
        heads: number of heads; divides `dim`.
        layout: which query meets which key; by default every head has its own (MHA).
    """

    def __init__(
        self, rng: np.random.Generator, dim: int, heads: int, layout: HeadLayout | None = None
    ) -> None:
        super().__init__()
        self.layout = layout or head_layout("mha", heads)
        self.dim, self.heads, self.head_dim = dim, heads, dim // heads
        self.qkv = projection(rng, dim, self.layout.projections * self.head_dim)
        self.core = AttentionCore(self.layout, self.head_dim)
        self.proj = projection(rng, dim, dim)

    def construct(self, x: ms.Tensor, mask: ms.Tensor | None = None) -> ms.Tensor:
        """Map ``(B, N, dim)`` to ``(B, N, dim)``; for the mask see `AttentionCore`."""
        return self.with_weights(x, mask)[0]

    def with_weights(
        self, x: ms.Tensor, mask: ms.Tensor | None = None
    ) -> tuple[ms.Tensor, ms.Tensor]:
        """Return the output and the attention ``(B, heads, N, N)`` of `AttentionCore`."""
        y, weights = self.core(self.qkv(x), mask)
        return self.proj(y), weights


class _Parts(nn.Cell):
    """Cut the last axis into queries, keys and values; the gradients are joined in one piece.

    ONNX has no unequal split from MindSpore, and slices alone would each be padded back and added.
    """

    def __init__(self, sizes: tuple[int, int]) -> None:
        super().__init__()
        self.first, self.second = sizes[0], sizes[0] + sizes[1]

    def construct(self, x: ms.Tensor) -> tuple[ms.Tensor, ms.Tensor, ms.Tensor]:
        # not by ops.slice, whose ONNX form loses a free batch axis
        return x[..., : self.first], x[..., self.first : self.second], x[..., self.second :]

    def bprop(
        self,
        x: ms.Tensor,
        out: tuple[ms.Tensor, ms.Tensor, ms.Tensor],
        dout: tuple[ms.Tensor, ms.Tensor, ms.Tensor],
    ) -> tuple[ms.Tensor]:
        return (ops.concat(dout, -1),)
