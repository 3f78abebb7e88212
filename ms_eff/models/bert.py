"""BERT encoders that classify text (arXiv:1810.04805), MiniLM's (2002.10957) among them.

One input tensor holds token ids, mask and types, so that everything that takes a batch of pictures
takes a batch of text.
"""

from __future__ import annotations

from typing import Any

import mindspore as ms
import numpy as np
from mindspore import Parameter, nn, ops

from ms_eff.errors import ConfigError
from ms_eff.models.attention import Attention
from ms_eff.models.dropout import Dropout, Masks
from ms_eff.models.gelu import GELU
from ms_eff.models.initial import projection, truncated_normal
from ms_eff.models.masks import key_mask

__all__ = ["BertBlock", "BertClassifier", "BertEmbeddings", "bert", "bert_base", "minilm_l6"]

_EPSILON = 1e-12

Hidden = tuple[ms.Tensor, ...]


class Table(nn.Cell):
    """Learned vectors, one an index."""

    def __init__(self, rng: np.random.Generator, entries: int, dim: int) -> None:
        super().__init__()
        self.weight = Parameter(ms.Tensor(truncated_normal(rng, (entries, dim), 0.02)), "weight")
        self.gather = ops.Gather()

    def construct(self, index: ms.Tensor) -> ms.Tensor:
        """Map integers ``(...)`` to ``(..., dim)``."""
        return self.gather(self.weight, index, 0)


class BertEmbeddings(nn.Cell):
    """The sum of word, position and type vectors, normalised.

    Args:
        rng: source of the initial weights.
        vocab: number of tokens.
        positions: longest sequence.
        dim: channels of a token.
        drop: after the normalisation, or None.
    """

    def __init__(
        self, rng: np.random.Generator, vocab: int, positions: int, dim: int, drop: nn.Cell | None
    ) -> None:
        super().__init__()
        self.word = Table(rng, vocab, dim)
        self.position = Table(rng, positions, dim)
        self.type = Table(rng, 2, dim)
        self.norm = nn.LayerNorm((dim,), epsilon=_EPSILON)
        self.drop = drop

    def construct(self, ids: ms.Tensor, types: ms.Tensor) -> ms.Tensor:
        """Map ids and types ``(B, L)`` to ``(B, L, dim)``."""
        return self.summed(self.word(ids), types)

    def summed(self, words: ms.Tensor, types: ms.Tensor) -> ms.Tensor:
        """Return the same of word vectors ``(B, L, dim)`` instead of ids."""
        x = words + self.type(types) + self.position.weight[: types.shape[1]]
        x = self.norm(x)
        return x if self.drop is None else self.drop(x)


class BertBlock(nn.Cell):
    """A post-norm transformer block: norm(x + attention(x)), then norm(x + mlp(x)).

    Args:
        rng: source of the initial weights.
        dim: channels of the tokens.
        heads: number of attention heads.
        hidden: channels inside the MLP.
        masks: of dropout after attention and MLP, or None.
    """

    def __init__(
        self, rng: np.random.Generator, dim: int, heads: int, hidden: int, masks: Masks | None
    ) -> None:
        super().__init__()
        self.attn = Attention(rng, dim, heads)
        self.norm1 = nn.LayerNorm((dim,), epsilon=_EPSILON)
        self.fc1 = projection(rng, dim, hidden)
        self.act = GELU()
        self.fc2 = projection(rng, hidden, dim)
        self.norm2 = nn.LayerNorm((dim,), epsilon=_EPSILON)
        self.drop1 = None if masks is None else Dropout(masks)
        self.drop2 = None if masks is None else Dropout(masks)

    def construct(self, x: ms.Tensor, mask: ms.Tensor) -> ms.Tensor:
        """Map ``(B, L, dim)`` to ``(B, L, dim)``; the mask is added to the scores."""
        y = self.attn(x, mask)
        if self.drop1 is not None:
            y = self.drop1(y)
        x = self.norm1(x + y)
        y = self.fc2(self.act(self.fc1(x)))
        if self.drop2 is not None:
            y = self.drop2(y)
        return self.norm2(x + y)


class BertClassifier(nn.Cell):
    """A BERT encoder with one linear head.

    Args:
        num_classes: outputs of the head.
        vocab: number of tokens.
        positions: longest sequence.
        dim: channels of a token.
        depth: number of blocks.
        heads: attention heads; divide `dim`.
        hidden: channels inside the MLPs; by default 4 `dim`.
        pool: the head sees the first ``token`` through BERT's pooler (a dense layer and tanh), or
            the ``mean`` over the tokens that are no padding.
        dropout: share of embeddings, attention's and MLP's outputs, and pooled features that is
            set to 0 in training. Attention weights are not dropped (ours).
        seed: of the initial weights and of dropout.

    Attributes:
        new_weights: what a weight file may lack or have for other classes: the head.
        input_dtype: of its input: token ids.

    Raises:
        ConfigError: a size below 1, another pool, heads that do not fit.
    """

    new_weights = ("head.",)
    input_dtype = ms.int32

    def __init__(
        self,
        *,
        num_classes: int = 2,
        vocab: int = 30522,
        positions: int = 512,
        dim: int = 384,
        depth: int = 6,
        heads: int = 12,
        hidden: int | None = None,
        pool: str = "mean",
        dropout: float = 0.0,
        seed: int = 0,
    ) -> None:
        super().__init__()
        hidden = 4 * dim if hidden is None else hidden
        sizes = {"num_classes": num_classes, "vocab": vocab, "positions": positions, "dim": dim}
        _check({**sizes, "depth": depth, "heads": heads, "hidden": hidden}, pool, dropout)
        rng = np.random.default_rng(seed)
        masks = Masks(dim, dropout, seed) if dropout > 0 else None
        first = None if masks is None else Dropout(masks)
        self.vocab, self.positions, self.pool = vocab, positions, pool
        self.embeddings = BertEmbeddings(rng, vocab, positions, dim, first)
        self.blocks = nn.CellList([BertBlock(rng, dim, heads, hidden, masks) for _ in range(depth)])
        self.pooler = projection(rng, dim, dim) if pool == "token" else None
        self.drop = None if masks is None else Dropout(masks)
        self.head = projection(rng, dim, num_classes)

    @property
    def token_table(self) -> Parameter:
        """The word vectors ``(vocab, dim)``."""
        return self.embeddings.word.weight

    def construct(self, tokens: ms.Tensor) -> ms.Tensor:
        """Return logits ``(B, num_classes)``.

        Args:
            tokens: ``(B, 3, L)`` int32: ids, mask (1, or 0 for padding) and types (0 or 1).
        """
        return self.with_hidden(tokens)[0]

    def with_hidden(self, tokens: ms.Tensor) -> tuple[ms.Tensor, Hidden]:
        """Return the logits, and each block's output ``(B, L, dim)``."""
        return self._judged(self.embeddings(tokens[:, 0], tokens[:, 2]), tokens[:, 1])

    def from_embedded(self, embedded: ms.Tensor, tokens: ms.Tensor) -> ms.Tensor:
        """Return the logits of word vectors ``(B, L, dim)`` that took the place of ids.

        Args:
            embedded: before types and positions are added.
            tokens: what `construct` takes; its mask and types count.
        """
        return self._judged(self.embeddings.summed(embedded, tokens[:, 2]), tokens[:, 1])[0]

    def encoded(self, ids: ms.Tensor, mask: ms.Tensor, types: ms.Tensor) -> ms.Tensor:
        """Return the last block's output ``(B, L, dim)`` for ids, mask and types ``(B, L)``."""
        return self._states(self.embeddings(ids, types), mask)[-1]

    def pooled(self, x: ms.Tensor, mask: ms.Tensor) -> ms.Tensor:
        """Return the features ``(B, dim)`` that the head sees of ``(B, L, dim)``."""
        if self.pooler is not None:
            return ops.tanh(self.pooler(x[:, 0]))
        weight = ops.reshape(mask, (-1, mask.shape[1], 1)).astype(x.dtype)
        return (x * weight).sum(1) / ops.maximum(weight.sum(1), 1.0)

    def _states(self, x: ms.Tensor, mask: ms.Tensor) -> Hidden:
        hide = key_mask(mask)
        hidden: Hidden = ()
        for block in self.blocks:
            x = block(x, hide)
            hidden = (*hidden, x)
        return hidden

    def _judged(self, x: ms.Tensor, mask: ms.Tensor) -> tuple[ms.Tensor, Hidden]:
        hidden = self._states(x, mask)
        x = self.pooled(hidden[-1], mask)
        return self.head(x if self.drop is None else self.drop(x)), hidden


def _check(sizes: dict[str, int], pool: str, dropout: float) -> None:
    for name, size in sizes.items():
        if size < 1:
            raise ConfigError(f"{name}: expected at least 1, got {size}")
    if sizes["dim"] % sizes["heads"]:
        raise ConfigError(
            f"heads: {sizes['heads']} does not divide dim = {sizes['dim']}; choose a divisor"
        )
    if pool not in ("token", "mean"):
        raise ConfigError(f"pool: expected 'token' or 'mean', got {pool!r}")
    if not 0 <= dropout < 1:
        raise ConfigError(f"dropout: expected a share from 0 to below 1, got {dropout}")


def bert(**args: Any) -> BertClassifier:
    """Return a BERT of free sizes, MiniLM-L6's unless told otherwise; see `BertClassifier`."""
    return BertClassifier(**args)


def minilm_l6(**args: Any) -> BertClassifier:
    """Return MiniLM-L6-H384, pooled by the mean (22,566,146 parameters at two classes)."""
    return BertClassifier(**{"dim": 384, "depth": 6, "heads": 12} | args)


def bert_base(**args: Any) -> BertClassifier:
    """Return BERT-base, uncased, with its pooler (109,483,778 parameters at two classes)."""
    sizes: dict[str, Any] = {"dim": 768, "depth": 12, "heads": 12, "pool": "token"}
    return BertClassifier(**sizes | args)
