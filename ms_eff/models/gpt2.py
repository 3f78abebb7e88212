"""GPT-2 (Radford et al. 2019), a language model; a classifier over its blocks is next door.

Learned positions, pre-norm blocks, the tanh form of GELU, and an output layer that is the token
embedding. The parts are those of the other transformers here, so that weights go to and fro under
Hugging Face's names and every method finds the attention that it knows.
"""

from __future__ import annotations

import math
from typing import Any

import mindspore as ms
import numpy as np
from mindspore import Parameter, Tensor, nn, ops

from ms_eff.errors import ConfigError
from ms_eff.models.attention import Attention
from ms_eff.models.bert import Table
from ms_eff.models.dropout import Dropout, Masks
from ms_eff.models.gelu import TanhGELU
from ms_eff.models.gpt2_shape import GPT2Shape
from ms_eff.models.initial import projection
from ms_eff.models.masks import HIDDEN, causal_mask

__all__ = [
    "GPT2",
    "GPT2Block",
    "GPT2Body",
    "TiedHead",
    "gpt2",
    "gpt2_large",
    "gpt2_medium",
    "gpt2_small",
    "gpt2_xl",
]

_EPSILON = 1e-5

Hidden = tuple[Tensor, ...]
# a block's keys and values, each (B, heads, N, head_dim)
KeysValues = tuple[Tensor, Tensor]


class GPT2Block(nn.Cell):
    """A pre-norm block: x + attention(norm(x)), then x + mlp(norm(x)).

    Args:
        rng: source of the initial weights; what is added to x starts smaller by sqrt(2 depth).
        shape: of the network.
        masks: of dropout after attention and MLP, or None.
    """

    def __init__(self, rng: np.random.Generator, shape: GPT2Shape, masks: Masks | None) -> None:
        super().__init__()
        dim = shape.dim
        self.norm1 = nn.LayerNorm((dim,), epsilon=_EPSILON)
        self.attn = Attention(rng, dim, shape.heads)
        self.norm2 = nn.LayerNorm((dim,), epsilon=_EPSILON)
        self.fc1 = projection(rng, dim, shape.inner)
        self.act = TanhGELU()
        self.fc2 = projection(rng, shape.inner, dim)
        self.drop1 = None if masks is None else Dropout(masks)
        self.drop2 = None if masks is None else Dropout(masks)
        for layer in (self.attn.proj, self.fc2):
            weight = layer.weight.asnumpy() / np.float32(math.sqrt(2 * shape.depth))
            layer.weight.set_data(Tensor(weight))

    def construct(self, x: Tensor, mask: Tensor) -> Tensor:
        """Map ``(B, T, dim)`` to ``(B, T, dim)``; the mask is added to the scores."""
        return self._behind(x, self.attn(self.norm1(x), mask))

    def with_keys(self, x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Do the same, and return the keys and values ``(B, heads, T, head_dim)`` besides."""
        y, k, v = self.attn.with_keys(self.norm1(x), mask)
        return self._behind(x, y), k, v

    def with_cache(
        self, x: Tensor, mask: Tensor, here: Tensor, past: KeysValues
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Do the same for one new place ``(B, 1, dim)``, which is at `here` in the cache."""
        y, k, v = self.attn.with_cache(self.norm1(x), mask, here, past)
        return self._behind(x, y), k, v

    def _behind(self, x: Tensor, y: Tensor) -> Tensor:
        """Return the block's output from its input and what attention gave."""
        if self.drop1 is not None:
            y = self.drop1(y)
        x = x + y
        y = self.fc2(self.act(self.fc1(self.norm2(x))))
        if self.drop2 is not None:
            y = self.drop2(y)
        return x + y


class TiedHead(nn.Cell):
    """Products with the token embedding, a cell of its own so that mixed precision reaches it."""

    def __init__(self) -> None:
        super().__init__()
        self.matmul = ops.MatMul(transpose_b=True)

    def construct(self, x: Tensor, table: Tensor) -> Tensor:
        """Map ``(B, T, dim)`` and the table ``(V, dim)`` to ``(B, T, V)``."""
        rows = ops.reshape(x, (-1, x.shape[2]))
        y = self.matmul(rows, table.astype(x.dtype))
        return ops.reshape(y, (-1, x.shape[1], table.shape[0]))

    def own_macs(self, inputs: list[tuple[int, ...]], output: tuple[int, ...]) -> int:
        """Return the multiply-accumulates of the product."""
        return math.prod(output) * inputs[0][-1]


class GPT2Body(nn.Cell):
    """Embeddings, blocks and last norm: what both networks share.

    Args:
        shape: of the network.
        dropout: share of embeddings, attention's and MLP's outputs that is set to 0 in training.
            Attention weights are not dropped (ours).
        seed: of the initial weights and of dropout.
    """

    input_dtype = ms.int32

    def __init__(self, shape: GPT2Shape, dropout: float, seed: int) -> None:
        super().__init__()
        if not 0 <= dropout < 1:
            raise ConfigError(f"dropout: expected a share from 0 to below 1, got {dropout}")
        rng = np.random.default_rng(seed)
        masks = Masks(shape.dim, dropout, seed) if dropout > 0 else None
        self.shape, self.vocab, self.positions = shape, shape.vocab, shape.positions
        self.word = Table(rng, shape.vocab, shape.dim)
        self.position = Table(rng, shape.positions, shape.dim)
        self.drop = None if masks is None else Dropout(masks)
        self.blocks = nn.CellList([GPT2Block(rng, shape, masks) for _ in range(shape.depth)])
        self.norm = nn.LayerNorm((shape.dim,), epsilon=_EPSILON)

    @property
    def token_table(self) -> Parameter:
        """The token embedding ``(V, dim)``."""
        return self.word.weight

    def states(self, embedded: Tensor, mask: Tensor) -> Hidden:
        """Return the output of each block, ``(B, T, dim)``, before the last norm.

        Args:
            embedded: ``(B, T, dim)`` token embeddings; positions are added here.
            mask: added to the scores.
        """
        x = self.placed(embedded)
        hidden: Hidden = ()
        for block in self.blocks:
            x = block(x, mask)
            hidden = (*hidden, x)
        return hidden

    def placed(self, embedded: Tensor) -> Tensor:
        """Add positions to token embeddings ``(B, T, dim)``: what goes into the first block."""
        x = embedded + self.position.weight[: embedded.shape[1]]
        if self.drop is not None:
            x = self.drop(x)
        return x


class GPT2(GPT2Body):
    """A causal language model: token ids ``(B, T)`` to logits ``(B, T, V)``.

    Args:
        dropout: share of embeddings, attention's and MLP's outputs that is set to 0 in training.
            Attention weights are not dropped (ours).
        seed: of the initial weights and of dropout.
        **shape: see `GPT2Shape`; GPT-2 small's unless told otherwise.

    Attributes:
        input_dtype: of its input: token ids.
        task: what it is trained for; see `ms_eff.train.tasks`.
        context: the longest sequence, for `ms_eff.models.decoding.Decoder`.

    Raises:
        ConfigError: numbers that do not fit together.

    >>> network = GPT2(vocab=50, positions=8, dim=12, depth=1, heads=2)
    >>> network(Tensor(np.zeros((2, 8), np.int32))).shape
    (2, 8, 50)
    """

    task = "language"

    def __init__(self, *, dropout: float = 0.0, seed: int = 0, **shape: Any) -> None:
        super().__init__(GPT2Shape(**shape), dropout, seed)
        self.head = TiedHead()
        self.context = self.positions
        self.places = Tensor(np.arange(self.positions, dtype=np.int32))

    def construct(self, ids: Tensor) -> Tensor:
        """Return the logits behind every position."""
        return self.from_embedded(self.word(ids))

    def prefill(
        self, ids: Tensor, last: Tensor | None = None
    ) -> tuple[Tensor, tuple[KeysValues, ...]]:
        """Return the logits of every position, and each block's keys and values.

        Args:
            ids: (B, N).
            last: () int32, the one place whose logits (B, 1, V) are wanted.
        """
        x, mask = self.placed(self.word(ids)), causal_mask(ids.shape[1])
        cache: tuple[KeysValues, ...] = ()
        for block in self.blocks:
            x, k, v = block.with_keys(x, mask)
            cache = (*cache, (k, v))
        if last is not None:  # the output layer is as dear as several blocks
            x = ops.gather(x, last.reshape(1), 1)
        return self.logits(x), cache

    def decode(
        self, ids: Tensor, position: Tensor, cache: tuple[KeysValues, ...]
    ) -> tuple[Tensor, tuple[KeysValues, ...]]:
        """Return the logits (B, 1, V) behind one more token, and the longer cache.

        Args:
            ids: (B, 1) the token.
            position: () int32, its place.
            cache: of `prefill` at the full length; entries from `position` on do not count.
        """
        places = self.places[: cache[0][0].shape[2]]
        mask = (places > position).astype(ms.float32).reshape(1, 1, 1, -1) * HIDDEN
        here = (places == position).reshape(1, 1, -1, 1)
        # by gather: an index that is a tensor would make the shape dynamic
        x = self.word(ids) + ops.gather(self.position.weight, position.reshape(1), 0)
        longer: tuple[KeysValues, ...] = ()
        for i, block in enumerate(self.blocks):
            x, k, v = block.with_cache(x, mask, here, cache[i])
            longer = (*longer, (k, v))
        return self.logits(x), longer

    def with_hidden(self, ids: Tensor) -> tuple[Tensor, Hidden]:
        """Return the logits, and each block's output ``(B, T, dim)``, the last one normalised."""
        hidden = self.states(self.word(ids), causal_mask(ids.shape[1]))
        last = self.norm(hidden[-1])
        return self.head(last, self.word.weight), (*hidden[:-1], last)

    def from_embedded(self, embedded: Tensor, ids: Tensor | None = None) -> Tensor:
        """Return the logits of token embeddings ``(B, T, dim)`` that took the place of ids.

        Args:
            embedded: before positions are added.
            ids: what `construct` takes; not used, since nothing else follows from it.
        """
        return self.logits(self.states(embedded, causal_mask(embedded.shape[1]))[-1])

    def logits(self, x: Tensor) -> Tensor:
        """Return ``(B, T, V)`` from the last block's output."""
        return self.head(self.norm(x), self.word.weight)


def gpt2(**args: Any) -> GPT2:
    """Return a GPT-2 of free sizes, small unless told otherwise; see `GPT2`."""
    return GPT2(**args)


def gpt2_small(**args: Any) -> GPT2:
    """Return GPT-2 small (124,439,808 parameters)."""
    return GPT2(**args)


def gpt2_medium(**args: Any) -> GPT2:
    """Return GPT-2 medium (354,823,168 parameters)."""
    return GPT2(**{"dim": 1024, "depth": 24, "heads": 16} | args)


def gpt2_large(**args: Any) -> GPT2:
    """Return GPT-2 large (774,030,080 parameters)."""
    return GPT2(**{"dim": 1280, "depth": 36, "heads": 20} | args)


def gpt2_xl(**args: Any) -> GPT2:
    """Return GPT-2 XL (1,557,611,200 parameters)."""
    return GPT2(**{"dim": 1600, "depth": 48, "heads": 25} | args)
