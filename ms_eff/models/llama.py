"""Llama-like language models: RMSNorm, rotary positions, grouped KV heads, SwiGLU (2302.13971).

Parameters have Hugging Face's names, so that weights go to and fro as they are. MindFormers' own
model is reached through `mindformers_llama.py`; its KV cache needs kernels that only Ascend has.
"""

from __future__ import annotations

import math
from dataclasses import MISSING, fields
from typing import Any

import mindspore as ms
import numpy as np
from mindspore import Parameter, Tensor, nn, ops
from mindspore.common.initializer import initializer

from ms_eff.errors import ConfigError
from ms_eff.models.llama_shape import LlamaShape
from ms_eff.models.masks import HIDDEN

__all__ = ["Block", "Llama", "RMSNorm", "llama", "rope_tables"]

# a block's keys and values, each (B, kv_heads, N, head_dim)
KeysValues = tuple[Tensor, Tensor]


def llama(seed: int | None = None, **shape: Any) -> Llama:
    """Return a Llama with new weights, normal of std 0.02; zeros if `seed` is None.

    Args:
        seed: of the initial weights.
        **shape: see `LlamaShape`.

    Raises:
        ConfigError: a number is missing, or they do not fit together.
    """
    missing = [f.name for f in fields(LlamaShape) if f.default is MISSING and f.name not in shape]
    if missing:
        raise ConfigError(
            f"llama: {missing[0]} is missing; the numbers of a pre-trained one are in its files: "
            "see configs/progressive"
        )
    network = Llama(LlamaShape(**shape))
    if seed is not None:
        rng = np.random.default_rng(seed)
        for parameter in network.get_parameters():
            if len(parameter.shape) > 1:
                values = rng.standard_normal(parameter.shape, dtype=np.float32) * 0.02
                parameter.set_data(Tensor(values))
    return network


def rope_tables(shape: LlamaShape, length: int) -> tuple[np.ndarray, np.ndarray]:
    """Return cosines and sines (length, head_dim) of the half-split rotation (2104.09864).

    >>> cosines, _ = rope_tables(LlamaShape(8, 4, 1, 1, 1, 4), 3)
    >>> cosines.shape, cosines[0].tolist()
    ((3, 4), [1.0, 1.0, 1.0, 1.0])
    """
    pairs = np.arange(0, shape.head_size, 2, dtype=np.float64) / shape.head_size
    angles = np.arange(length)[:, None] * shape.rope_base**-pairs
    angles = np.concatenate([angles, angles], axis=1)
    return np.cos(angles).astype(np.float32), np.sin(angles).astype(np.float32)


class RMSNorm(nn.Cell):
    """x / rms(x) times a weight (1910.07467), computed in float32."""

    def __init__(self, dim: int, eps: float) -> None:
        super().__init__()
        self.weight = Parameter(Tensor(np.ones(dim, np.float32)))
        self.eps = eps

    def construct(self, x: Tensor) -> Tensor:
        """Normalise the last axis."""
        y = x.astype(ms.float32)
        # by a division: ONNX export has no Rsqrt
        y = y / ops.sqrt(ops.mean(y * y, -1, True) + self.eps)
        return y.astype(x.dtype) * self.weight.astype(x.dtype)


class Table(nn.Cell):
    """The token embedding, under Hugging Face's name; a tied output layer multiplies by it."""

    def __init__(self, rows: int, dim: int) -> None:
        super().__init__()
        # not an array: `ms_eff.models.streamed` spares the zeros
        self.weight = Parameter(initializer("zeros", (rows, dim), ms.float32))

    def construct(self, ids: Tensor) -> Tensor:
        """Map (B, N) token ids to (B, N, dim)."""
        return ops.gather(self.weight, ids, 0)


class Attention(nn.Cell):
    """Causal attention with grouped KV heads (2305.13245) and rotary positions."""

    def __init__(self, shape: LlamaShape) -> None:
        super().__init__()
        sizes, bias = shape.linears, shape.attention_bias
        self.q_proj = _linear(sizes["self_attn.q_proj"], bias)
        self.k_proj = _linear(sizes["self_attn.k_proj"], bias)
        self.v_proj = _linear(sizes["self_attn.v_proj"], bias)
        self.o_proj = _linear(sizes["self_attn.o_proj"], bias)
        self.heads, self.kv_heads, self.size = shape.heads, shape.kv_heads, shape.head_size
        self.scale = 1 / math.sqrt(shape.head_size)
        self.scores = ops.BatchMatMul(transpose_b=True)
        self.weigh = ops.BatchMatMul()

    def construct(self, x: Tensor, cosines: Tensor, sines: Tensor, mask: Tensor) -> Tensor:
        """Map (B, N, dim) to the same; `mask`, broadcast to (B, heads, N, N), adds to scores."""
        k, v = self.keys_values(x, cosines, sines)
        return self.attend(x, cosines, sines, mask, k, v)

    def keys_values(self, x: Tensor, cosines: Tensor, sines: Tensor) -> KeysValues:
        """Return keys, rotated, and values of the positions (B, N, dim)."""
        k = self._split(self.k_proj(x), self.kv_heads)
        return self._rotate(k, cosines, sines), self._split(self.v_proj(x), self.kv_heads)

    def attend(
        self, x: Tensor, cosines: Tensor, sines: Tensor, mask: Tensor, k: Tensor, v: Tensor
    ) -> Tensor:
        """Attend from (B, N, dim) to keys and values of M positions; `mask` as in `construct`."""
        b, n, m = x.shape[0], x.shape[1], k.shape[2]
        groups = self.heads // self.kv_heads
        q = self._rotate(self._split(self.q_proj(x), self.heads), cosines, sines)
        # the query heads of a KV head stand together as its rows, so no key is repeated
        q = ops.reshape(q * self.scale, (b, self.kv_heads, groups * n, self.size))
        scores = ops.reshape(self.scores(q, k), (b, self.heads, n, m)) + mask.astype(x.dtype)
        weights = ops.softmax(scores.astype(ms.float32), -1).astype(x.dtype)
        y = self.weigh(ops.reshape(weights, (b, self.kv_heads, groups * n, m)), v)
        y = ops.transpose(ops.reshape(y, (b, self.heads, n, self.size)), (0, 2, 1, 3))
        return self.o_proj(ops.reshape(y, (b, n, self.heads * self.size)))

    def _split(self, x: Tensor, heads: int) -> Tensor:
        x = ops.reshape(x, (x.shape[0], x.shape[1], heads, self.size))
        return ops.transpose(x, (0, 2, 1, 3))

    def _rotate(self, x: Tensor, cosines: Tensor, sines: Tensor) -> Tensor:
        half = self.size // 2
        turned = ops.concat((-x[..., half:], x[..., :half]), -1)
        return x * cosines.astype(x.dtype) + turned * sines.astype(x.dtype)


class Mlp(nn.Cell):
    """down(silu(gate(x)) * up(x)) (2002.05202)."""

    def __init__(self, shape: LlamaShape) -> None:
        super().__init__()
        sizes = shape.linears
        self.gate_proj = _linear(sizes["mlp.gate_proj"], False)
        self.up_proj = _linear(sizes["mlp.up_proj"], False)
        self.down_proj = _linear(sizes["mlp.down_proj"], False)

    def construct(self, x: Tensor) -> Tensor:
        """Map (B, N, dim) to the same."""
        gate = self.gate_proj(x)
        return self.down_proj(gate * ops.sigmoid(gate) * self.up_proj(x))


class Block(nn.Cell):
    """x + attention(norm(x)), then x + mlp(norm(x))."""

    def __init__(self, shape: LlamaShape) -> None:
        super().__init__()
        self.input_layernorm = RMSNorm(shape.dim, shape.norm_eps)
        self.self_attn = Attention(shape)
        self.post_attention_layernorm = RMSNorm(shape.dim, shape.norm_eps)
        self.mlp = Mlp(shape)

    def construct(self, x: Tensor, cosines: Tensor, sines: Tensor, mask: Tensor) -> Tensor:
        """Map (B, N, dim) to the same."""
        x = x + self.self_attn(self.input_layernorm(x), cosines, sines, mask)
        return x + self.mlp(self.post_attention_layernorm(x))

    def with_keys(
        self, x: Tensor, cosines: Tensor, sines: Tensor, mask: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Do the same, and return the keys and values besides."""
        y = self.input_layernorm(x)
        k, v = self.self_attn.keys_values(y, cosines, sines)
        x = x + self.self_attn.attend(y, cosines, sines, mask, k, v)
        return x + self.mlp(self.post_attention_layernorm(x)), k, v

    def with_cache(
        self, x: Tensor, rope: KeysValues, mask: Tensor, here: Tensor, past: KeysValues
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Do the same for one new position (B, 1, dim), whose place in the cache is `here`."""
        y = self.input_layernorm(x)
        k, v = self.self_attn.keys_values(y, rope[0], rope[1])
        # a choice by a mask, not a write at an index: the shapes stay static
        k, v = ops.where(here, k, past[0]), ops.where(here, v, past[1])
        x = x + self.self_attn.attend(y, rope[0], rope[1], mask, k, v)
        return x + self.mlp(self.post_attention_layernorm(x)), k, v


class Body(nn.Cell):
    """Embedding, blocks and last norm, as Hugging Face's `model`."""

    def __init__(self, shape: LlamaShape) -> None:
        super().__init__()
        self.embed_tokens = Table(shape.vocab_size, shape.dim)
        self.layers = nn.CellList([Block(shape) for _ in range(shape.depth)])
        self.norm = RMSNorm(shape.dim, shape.norm_eps)


class Llama(nn.Cell):
    """A causal language model: token ids (B, N) to logits (B, N, vocabulary).

    Args:
        shape: all its numbers; the weights are zeros (norms: ones) until loaded.
    """

    def __init__(self, shape: LlamaShape) -> None:
        super().__init__()
        self.model = Body(shape)
        self.tied = shape.tied
        if not shape.tied:
            self.lm_head = _linear((shape.vocab_size, shape.dim), False)
        self.shape, self.context = shape, shape.context
        self.cosines, self.sines = map(Tensor, rope_tables(shape, shape.context))
        self.positions = Tensor(np.arange(shape.context, dtype=np.int32))
        self.product = ops.MatMul(transpose_b=True)

    def construct(self, ids: Tensor) -> Tensor:
        """Return the logits of every position."""
        cosines, sines, mask = self._places(ids.shape[1])
        x = self.model.embed_tokens(ids)
        for block in self.model.layers:
            x = block(x, cosines, sines, mask)
        return self._logits(x)

    def prefill(
        self, ids: Tensor, last: Tensor | None = None
    ) -> tuple[Tensor, tuple[KeysValues, ...]]:
        """Return the logits of every position, and each block's keys and values.

        Args:
            ids: (B, N).
            last: () int32, the one place whose logits (B, 1, vocabulary) are wanted.
        """
        cosines, sines, mask = self._places(ids.shape[1])
        x = self.model.embed_tokens(ids)
        cache: tuple[KeysValues, ...] = ()
        for block in self.model.layers:
            x, k, v = block.with_keys(x, cosines, sines, mask)
            cache = (*cache, (k, v))
        if last is not None:  # the output layer is as dear as several blocks
            x = ops.gather(x, last.reshape(1), 1)
        return self._logits(x), cache

    def decode(
        self, ids: Tensor, position: Tensor, cache: tuple[KeysValues, ...]
    ) -> tuple[Tensor, tuple[KeysValues, ...]]:
        """Return the logits (B, 1, vocabulary) behind one more token, and the longer cache.

        Args:
            ids: (B, 1) the token.
            position: () int32, its place.
            cache: of `prefill` at the full length; entries from `position` on do not count.
        """
        places = self.positions[: cache[0][0].shape[2]]
        # by gather: an index that is a tensor would make the shape dynamic
        rope = (
            ops.gather(self.cosines, position.reshape(1), 0),
            ops.gather(self.sines, position.reshape(1), 0),
        )
        mask = (places > position).astype(ms.float32).reshape(1, -1) * HIDDEN
        here = (places == position).reshape(1, 1, -1, 1)
        x = self.model.embed_tokens(ids)
        longer: tuple[KeysValues, ...] = ()
        for i, block in enumerate(self.model.layers):
            x, k, v = block.with_cache(x, rope, mask, here, cache[i])
            longer = (*longer, (k, v))
        return self._logits(x), longer

    def _places(self, length: int) -> tuple[Tensor, Tensor, Tensor]:
        """Return cosines, sines and the causal mask (N, N) of that many positions."""
        places = self.positions[:length]
        later = places.reshape(1, -1) > places.reshape(-1, 1)
        return self.cosines[:length], self.sines[:length], later.astype(ms.float32) * HIDDEN

    def _logits(self, x: Tensor) -> Tensor:
        x = self.model.norm(x)
        if not self.tied:
            return self.lm_head(x)
        rows = ops.reshape(x, (-1, x.shape[-1]))
        table = self.model.embed_tokens.weight.astype(x.dtype)
        return ops.reshape(self.product(rows, table), (*x.shape[:-1], -1))


def _linear(shape: tuple[int, int], bias: bool) -> nn.Dense:
    S, C = shape
    return nn.Dense(C, S, weight_init="zeros", bias_init="zeros", has_bias=bias)
