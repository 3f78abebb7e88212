"""The blocks of a ViT with a token-level skip connection (arXiv:2401.15293)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import mindspore as ms
import numpy as np
from mindspore import Parameter, nn, ops

from ms_eff.methods.skipvit.core import Route
from ms_eff.models.vit import Block

__all__ = ["RandomScores", "RoutedBlocks"]

# rows of random scores: a prime, so that any batch size comes round to every row
_ROWS = 1021


class RandomScores(nn.Cell):
    """Scores of patches drawn from a table; which rows come next is a parameter.

    MindSpore's own generators cannot be put back to a point, and a resumed run must draw what an
    uninterrupted one would.
    """

    def __init__(self, patches: int, seed: int) -> None:
        super().__init__()
        table = np.random.default_rng(seed).random((_ROWS, patches), dtype=np.float32)
        self.table = ms.Tensor(table)
        self.drawn = Parameter(ms.Tensor(0, ms.int32), name="drawn", requires_grad=False)
        self.gather = ops.Gather()

    def construct(self, x: ms.Tensor) -> ms.Tensor:
        """Return scores ``(B, N)`` for tokens ``(B, 1 + N, dim)``, others at every call."""
        images = x.shape[0]
        rows = (self.drawn + ops.arange(images)) % _ROWS
        scores = self.gather(self.table, rows, 0)
        return ops.depend(scores, ops.assign(self.drawn, (self.drawn + images) % _ROWS))


class RoutedBlocks(nn.Cell):
    """A ViT's blocks, some of which the dropped tokens skip; blocks keep their names.

    Blocks 0 .. `score_block` run on all tokens, those up to `merge_block` on the class token and
    the kept patches, the rest on all again. Dropped tokens are copied past the reduced blocks.

    Args:
        blocks: of the network.
        route: which tokens go where.

    Attributes:
        routing: whether tokens skip in training (a warm-up trains without).
        portable: gather in the form that takes a batch axis of unknown length.
    """

    def __init__(self, blocks: Sequence[Block], route: Route) -> None:
        super().__init__()
        for index, block in enumerate(blocks):
            self.insert_child_to_cell(str(index), block)
        self.sequence = tuple(blocks)
        self.route = route
        self.routing, self.portable = True, False
        self.score_block, self.merge_block = route.score_block, route.merge_block
        self.patches, self.kept, self.inference = route.patches, route.kept, route.inference
        self.random: RandomScores | None = None
        if route.score == "random":
            self.random = RandomScores(route.patches, route.seed)
        self.top = ops.TopK(sorted=True)
        self.gather = ops.Gather()
        self.concat = ops.Concat(1)

    def construct(self, x: ms.Tensor) -> ms.Tensor:
        """Map ``(B, 1 + N, dim)`` to ``(B, 1 + N, dim)``."""
        routed = self.routing if self.training else self.inference
        if self.kept == self.patches or not routed:
            for block in self.sequence:
                x = block(x)
            return x
        x, order = self.scored(x)
        few, rest = self.split(x, order)
        for block in self.sequence[self.score_block + 1 : self.merge_block]:
            few = block(few)
        x = self.merged(few, rest, order)
        for block in self.sequence[self.merge_block :]:
            x = block(x)
        return x

    def scored(self, x: ms.Tensor) -> tuple[ms.Tensor, ms.Tensor]:
        """Run the blocks before the split.

        Returns:
            Tokens ``(B, 1 + N, dim)`` and their order ``(B, 1 + N)``: the class token, the kept
            patches, then the dropped ones, both ascending. No gradient flows through the choice.
        """
        for block in self.sequence[: self.score_block]:
            x = block(x)
        if self.random is not None:
            scores = self.random(x)
            x = self.sequence[self.score_block](x)
        else:
            x, weights = self.sequence[self.score_block].with_weights(x)
            scores = weights[:, :, 0, 1:].mean(1)
        ranked = self.top(ops.stop_gradient(scores), self.patches)[1]
        kept = self._ascending(ranked[:, : self.kept], self.kept)
        dropped = self._ascending(ranked[:, self.kept :], self.patches - self.kept)
        return x, self.concat((kept[:, :1] * 0, kept + 1, dropped + 1))

    def split(self, x: ms.Tensor, order: ms.Tensor) -> tuple[ms.Tensor, ms.Tensor]:
        """Return the tokens that go on, ``(B, 1 + K, dim)``, and those that skip."""
        x = self._rows(x, order)
        return x[:, : 1 + self.kept], x[:, 1 + self.kept :]

    def merged(self, few: ms.Tensor, rest: ms.Tensor, order: ms.Tensor) -> ms.Tensor:
        """Bring both sets back to where they came from."""
        x = self.concat((few, rest))
        return self._rows(x, self.top(-order.astype(ms.float32), 1 + self.patches)[1])

    def _ascending(self, index: ms.Tensor, count: int) -> ms.Tensor:
        """Sort indices; by TopK, which every exporter has. They are exact in float32."""
        return (-self.top(-index.astype(ms.float32), count)[0]).astype(ms.int32)

    def _rows(self, x: ms.Tensor, index: ms.Tensor) -> ms.Tensor:
        """Gather tokens ``(B, n, dim)`` by indices ``(B, n)``."""
        tokens, dim = x.shape[1], x.shape[2]
        if self.portable:
            wide = ops.tile(ops.reshape(index, (-1, tokens, 1)), (1, 1, dim))
            return ops.gather_d(x, 1, wide)
        # as rows of one table: several times faster than gather_d on a CPU
        images = x.shape[0]
        flat = ops.reshape(ops.arange(images) * tokens, (images, 1)).astype(ms.int32) + index
        rows = self.gather(ops.reshape(x, (-1, dim)), ops.reshape(flat, (-1,)), 0)
        return ops.reshape(rows, (images, tokens, dim))

    def __getitem__(self, index: int) -> Block:
        return self.sequence[index]

    def __iter__(self) -> Iterator[Block]:
        return iter(self.sequence)

    def __len__(self) -> int:
        return len(self.sequence)
