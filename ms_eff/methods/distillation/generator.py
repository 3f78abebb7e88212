"""MATE-KD's generator: a masked language model whose draws carry a gradient (arXiv:2105.05812)."""

from __future__ import annotations

import mindspore as ms
import numpy as np
from mindspore import Parameter, Tensor, nn, ops
from mindspore.ops.primitive import constexpr

from ms_eff.methods.distillation import core
from ms_eff.models.bert import BertBlock
from ms_eff.models.gelu import GELU
from ms_eff.models.initial import projection, truncated_normal
from ms_eff.models.masks import key_mask
from ms_eff.models.row_sums import softmax

__all__ = ["WINDOWS", "Draw", "Generator", "Masking", "StraightThrough"]

_PREFIX = "generator."
_EPSILON = 1e-12
# windows into the table of noise begin at one of so many places
WINDOWS = 1 << 20


class Generator(nn.Cell):
    """A small masked language model over the teacher's vocabulary.

    Embedding and output layer are one matrix, which begins as the teacher's token embedding, so
    that it need not learn what tokens are like; a vector of its own stands for masked tokens, since
    GPT-2 has no such token (both ours).

    Args:
        table: (V, D), the teacher's token embedding; copied.
        positions: longest text.
        depth: transformer blocks, post-norm as BERT's, without dropout.
        seed: of the other initial weights.
    """

    def __init__(self, table: np.ndarray, positions: int, depth: int, seed: int) -> None:
        super().__init__()
        rng = np.random.default_rng(seed)
        vocab, dim = table.shape
        self.word = Parameter(Tensor(table.copy()), name="word")
        self.masked = Parameter(Tensor(table.mean(0)), name="masked")
        first = truncated_normal(rng, (positions, dim), 0.02)
        self.position = Parameter(Tensor(first), name="position")
        self.norm = nn.LayerNorm((dim,), epsilon=_EPSILON)
        heads = core.heads_of(dim)
        blocks = [BertBlock(rng, dim, heads, 4 * dim, None) for _ in range(depth)]
        self.blocks = nn.CellList(blocks)
        self.transform = projection(rng, dim, dim)
        self.act = GELU()
        self.last_norm = nn.LayerNorm((dim,), epsilon=_EPSILON)
        self.bias = Parameter(Tensor(np.zeros(vocab, np.float32)), name="bias")
        self.gather = ops.Gather()
        self.pick = ops.BatchMatMul()
        self.matmul = ops.MatMul(transpose_b=True)
        for parameter in self.get_parameters():
            parameter.name = _PREFIX + parameter.name

    def construct(self, ids: Tensor, tokens: Tensor, hits: Tensor) -> Tensor:
        """Return logits (B K, V) of the masked places.

        Args:
            ids: (B, L).
            tokens: (B, L) ones, and zeros for padding.
            hits: (B, K, L), of `Masking`.
        """
        chosen = ops.reshape(hits.sum(1), (-1, ids.shape[1], 1))
        x = self.gather(self.word, ids, 0)
        x = x * (1.0 - chosen) + self.masked * chosen
        x = self.norm(x + self.position[: ids.shape[1]])
        hide = key_mask(tokens)
        for block in self.blocks:
            x = block(x, hide)
        # of the masked places only: the vocabulary is by far the widest
        x = ops.reshape(self.pick(hits, x), (-1, x.shape[2]))
        x = self.last_norm(self.act(self.transform(x)))
        return self.matmul(x, self.word) + self.bias


class Masking(nn.Cell):
    """Which tokens are masked: a share of those that are neither padding nor special, rounded.

    Args:
        share: of each text's tokens.
        special: ids that are never masked.
    """

    def __init__(self, share: float, special: tuple[int, ...]) -> None:
        super().__init__()
        self.share, self.special = share, special
        self.top = ops.TopK(sorted=True)

    def construct(self, ids: Tensor, tokens: Tensor, scores: Tensor) -> Tensor:
        """Return (B, K, L): row k has a one where the k-th masked token lies, or only zeros.

        Args:
            ids: (B, L).
            tokens: (B, L) ones, and zeros for padding.
            scores: (B, L) random numbers in [0, 1): the largest are masked.
        """
        free = tokens
        for special in self.special:
            free = free * (ids != special).astype(ms.float32)
        length = ids.shape[1]
        most = _most_masked(length, self.share)
        places = self.top(scores * free + free, most)[1]
        count = ops.floor(self.share * free.sum(1) + 0.5)
        used = ops.arange(most).astype(ms.float32) < ops.reshape(count, (-1, 1))
        hits = ops.reshape(places, (-1, most, 1)) == ops.arange(length).astype(ms.int32)
        return hits.astype(ms.float32) * ops.reshape(used, (-1, most, 1)).astype(ms.float32)


@constexpr
def _most_masked(length: int, share: float) -> int:
    """Return K as a constant of the graph, whose shapes are known then."""
    return core.most_masked(length, share)


class Draw(nn.Cell):
    """Draw a token of each row of logits, by Gumbel noise (arXiv:1611.01144).

    The noise of a row is a window into one table, which is always the same; where the windows begin
    is drawn on the host. MindSpore's generators cannot be put back to a point, this can (ours).

    Args:
        vocab: V.
        temperature: of the softmax.
    """

    def __init__(self, vocab: int, temperature: float) -> None:
        super().__init__()
        rng = core.stream(core.Purpose.NOISE, 0)
        self.noise = Tensor(core.gumbel_noise(WINDOWS + vocab, rng))
        self.across = Tensor(np.arange(vocab, dtype=np.int32))
        self.temperature = temperature
        self.gather = ops.Gather()
        self.argmax = ops.Argmax(axis=-1)
        self.softmax = softmax()

    def construct(self, logits: Tensor, starts: Tensor) -> tuple[Tensor, Tensor]:
        """Return the ids drawn (n,), and softmax((logits + noise) / temperature) (n, V).

        Args:
            logits: (n, V).
            starts: (n,) int32 below `WINDOWS`.
        """
        noise = self.gather(self.noise, ops.reshape(starts, (-1, 1)) + self.across, 0)
        noisy = logits + noise
        return self.argmax(noisy), self.softmax(noisy / self.temperature)


class StraightThrough(nn.Cell):
    """The table's rows of drawn tokens; backwards as if the softmax had multiplied the table.

    It equals onehot - stop(soft) + soft times the table, without that product.
    """

    def __init__(self) -> None:
        super().__init__()
        self.gather = ops.Gather()
        self.matmul = ops.MatMul(transpose_b=True)

    def construct(self, soft: Tensor, drawn: Tensor, table: Tensor) -> Tensor:
        """Return (n, D) of the softmax (n, V), the drawn ids (n,) and the table (V, D)."""
        return self.gather(table, drawn, 0)

    def bprop(
        self, soft: Tensor, drawn: Tensor, table: Tensor, out: Tensor, dout: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return the softmax's gradient; ids have none, and the table is another network's."""
        return self.matmul(dout, table), ops.zeros_like(drawn), ops.zeros_like(table)
