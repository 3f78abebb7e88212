"""Self-attention with shared queries, keys and values: one core for every layout of heads."""

from __future__ import annotations

import math

import mindspore as ms
import numpy as np
from mindspore import nn, ops

from ms_eff.models.heads import HeadLayout, head_layout
from ms_eff.models.initial import projection
from ms_eff.models.row_sums import softmax

__all__ = ["SHARING", "Attention", "AttentionCore", "RepeatingCore", "attention_core"]

# How projections are shared, by backend: whichever `python -m ms_eff.bench.sharing` finds faster.
# Only CPUs are measured; others take what copies least until somebody measures them.
SHARING = {"CPU": "broadcast", "Ascend": "broadcast", "GPU": "broadcast"}


def attention_core(layout: HeadLayout, head_dim: int, sharing: str | None = None) -> AttentionCore:
    """Return the core that is faster on the backend in use; both compute the same.

    Args:
        layout: which query meets which key and value.
        head_dim: channels of a head.
        sharing: `broadcast` or `repeat`; by default what `SHARING` says.
    """
    chosen = sharing or SHARING[ms.get_context("device_target")]
    return (RepeatingCore if chosen == "repeat" else AttentionCore)(layout, head_dim)


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
        # keys that the products have as their batch
        self.batch = layout.keys
        self.scale = 1.0 / math.sqrt(head_dim)
        self.parts = _Parts((self.queries * head_dim, self.keys * head_dim))
        self.scores = ops.BatchMatMul(transpose_b=True)
        self.mix = ops.BatchMatMul()
        self.softmax = softmax()

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
        q, k, v = self.split(qkv)
        return self.attend(q, k, v, mask, (tokens, tokens))

    def split(self, qkv: ms.Tensor) -> tuple[ms.Tensor, ms.Tensor, ms.Tensor]:
        """Return scaled queries ``(B, #Q, N, d)``, and keys and values ``(B, #KV, N, d)``."""
        q, k, v = self.parts(qkv)
        q = self._heads(q * self.scale, self.queries)
        return q, self._heads(k, self.keys), self._heads(v, self.keys)

    def attend(
        self,
        q: ms.Tensor,
        k: ms.Tensor,
        v: ms.Tensor,
        mask: ms.Tensor | None,
        sizes: tuple[int, int],
    ) -> tuple[ms.Tensor, ms.Tensor]:
        """Attend from N places to M, which a cache of keys and values may hold.

        Args:
            q: scaled queries of `split`, of N places.
            k: keys, of M places.
            v: values, likewise.
            mask: added to the scores, broadcast to ``(B, heads, N, M)``; None attends everywhere.
            sizes: (N, M), which shapes do not tell where a graph's batch is free.

        Returns:
            As `construct` does.
        """
        tokens, places = sizes
        scores = self.scores(self._stacked(q), self._keys(k, places))
        weights = ops.reshape(scores, (-1, self.heads, tokens, places))
        if mask is not None:
            weights = weights + mask.astype(weights.dtype)
        weights = self.softmax(weights)
        rows = ops.reshape(weights, (-1, self.batch, self.heads // self.batch * tokens, places))
        y = self._in_order(self.mix(rows, self._keys(v, places)), tokens)
        return ops.reshape(y, (-1, tokens, self.heads * self.head_dim)), weights

    def own_macs(self, inputs: list[tuple[int, ...]], output: tuple[int, ...]) -> int:
        """Return the multiply-accumulates of the two products: sharing does not change them."""
        batch, tokens, channels = output
        return 2 * batch * tokens**2 * channels

    def _heads(self, x: ms.Tensor, count: int) -> ms.Tensor:
        """Bring ``(B, N, count * head_dim)`` to ``(B, count, N, head_dim)``."""
        x = ops.reshape(x, (-1, x.shape[1], count, self.head_dim))
        return ops.transpose(x, (0, 2, 1, 3))

    def _keys(self, x: ms.Tensor, places: int) -> ms.Tensor:
        """Bring keys or values ``(B, #KV, M, d)`` to the batch of the products: as they are."""
        return x

    def _stacked(self, q: ms.Tensor) -> ms.Tensor:
        """Stack the queries of each key: ``(B, #Q, N, d)`` to ``(B, #KV, h / #KV * N, d)``."""
        tokens = q.shape[2]
        q = _repeated(q, self.copies)
        return ops.reshape(q, (-1, self.batch, self.heads // self.batch * tokens, self.head_dim))

    def _in_order(self, y: ms.Tensor, tokens: int) -> ms.Tensor:
        """Bring ``(B, #KV, h / #KV * N, d)`` to ``(B, N, ...)`` with the heads in order."""
        if self.interleaved:
            y = ops.reshape(y, (-1, self.keys, self.heads // self.keys, tokens, self.head_dim))
            return ops.transpose(y, (0, 3, 2, 1, 4))
        return ops.transpose(ops.reshape(y, (-1, self.heads, tokens, self.head_dim)), (0, 2, 1, 3))


class RepeatingCore(AttentionCore):
    """The same with one copy a head of whatever is shared: plain attention from there on.

    The attention it returns has the heads in their own order.
    """

    def __init__(self, layout: HeadLayout, head_dim: int) -> None:
        super().__init__(layout, head_dim)
        self.copies, self.key_copies = layout.repeats
        self.batch, self.interleaved = layout.heads, False

    def _keys(self, x: ms.Tensor, places: int) -> ms.Tensor:
        """Bring keys or values ``(B, #KV, M, d)`` to ``(B, heads, M, d)``, a copy a head."""
        x = _repeated(x, self.key_copies)
        return ops.reshape(x, (-1, self.heads, places, self.head_dim))


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
        self.core = attention_core(self.layout, self.head_dim)
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

    def with_keys(
        self, x: ms.Tensor, mask: ms.Tensor | None
    ) -> tuple[ms.Tensor, ms.Tensor, ms.Tensor]:
        """Return the output, and keys and values ``(B, #KV, N, d)`` for a cache."""
        tokens = x.shape[1]
        q, k, v = self.core.split(self.qkv(x))
        y, _ = self.core.attend(q, k, v, mask, (tokens, tokens))
        return self.proj(y), k, v

    def with_cache(
        self,
        x: ms.Tensor,
        mask: ms.Tensor,
        here: ms.Tensor,
        past: tuple[ms.Tensor, ms.Tensor],
    ) -> tuple[ms.Tensor, ms.Tensor, ms.Tensor]:
        """Return the output of one new place ``(B, 1, dim)``, and the longer cache.

        Args:
            x: the new place.
            mask: added to the scores, broadcast to ``(B, heads, 1, M)``.
            here: bool, broadcast to ``(B, #KV, M, d)``: which place of the cache is the new one.
            past: keys and values ``(B, #KV, M, d)``.
        """
        q, k, v = self.core.split(self.qkv(x))
        # a choice by a mask, not a write at an index: the shapes stay static
        k, v = ops.where(here, k, past[0]), ops.where(here, v, past[1])
        y, _ = self.core.attend(q, k, v, mask, (1, past[0].shape[2]))
        return self.proj(y), k, v


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


def _repeated(x: ms.Tensor, times: tuple[int, int]) -> ms.Tensor:
    """Copy ``(B, n, N, d)`` along n, as a whole and each beside itself; other axes are merged."""
    outer, inner = times
    if outer * inner == 1:
        return x
    x = ops.reshape(x, (-1, 1, x.shape[1], 1, x.shape[2] * x.shape[3]))
    return ops.tile(x, (1, outer, 1, inner, 1))
