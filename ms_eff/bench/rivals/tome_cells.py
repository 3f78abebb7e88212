"""Token merging put into a vision transformer (ToMe, arXiv:2210.09461): cells, surgery, method.

Shapes are static and nothing is scattered: tokens merge by a product with a 0/1 matrix.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, ClassVar

import mindspore as ms
import numpy as np
from mindspore import nn, ops

from ms_eff.bench.counts import count, totals
from ms_eff.bench.rivals.tome import ToMeSettings, token_counts
from ms_eff.errors import PlanError
from ms_eff.methods.base import Method, ModelContext
from ms_eff.methods.replace import replaced
from ms_eff.models.vit import Block, VisionTransformer

__all__ = ["Matching", "MergingBlock", "MergingBlocks", "ToMe", "merge_tokens"]


class Matching(nn.Cell):
    """Which tokens merge: bipartite soft matching.

    Each token of even index looks for the one of odd index whose keys are most alike, by their
    cosine; the `merged` pairs that are most alike become one token each, and one of odd index may
    take in several. The class token, the first, stays as it is. No gradient flows through it.

    Args:
        tokens: N, the class token included.
        merged: r, from 1 to half of the patches.
    """

    def __init__(self, tokens: int, merged: int) -> None:
        super().__init__()
        self.even, self.odd = (tokens + 1) // 2, tokens // 2
        self.merged, self.left = merged, self.even - merged
        # cosines are at least -1: the class token comes last, so that it never goes
        first = np.zeros((1, self.even, 1), np.float32)
        first[0, 0] = -3.0
        self.first = ms.Tensor(first)
        self.places = ms.Tensor(np.arange(tokens, dtype=np.int32).reshape(1, 1, -1))
        self.evens = ms.Tensor(np.arange(self.even, dtype=np.int32).reshape(1, -1))
        self.odds = ms.Tensor(np.arange(self.odd, dtype=np.int32).reshape(1, -1, 1))
        self.tokens = tokens
        self.product = ops.BatchMatMul(transpose_b=True)
        self.top = ops.TopK(sorted=True)
        self.concat = ops.Concat(1)

    def construct(self, keys: ms.Tensor) -> ms.Tensor:
        """Return where every token goes.

        Args:
            keys: ``(B, N, d)``.

        Returns:
            ``(B, N - r, N)`` of 0 and 1: a row for each token of even index that stays, in their
            order, then one for each of odd index, which has those that it takes in as well.
        """
        x = ops.stop_gradient(keys).astype(ms.float32)
        x = x / ops.sqrt((x * x).sum(-1, keepdims=True) + 1e-12)
        scores = self.product(x[:, ::2], x[:, 1::2]) + self.first
        best, partner = self.top(scores, 1)
        order = self.top(ops.reshape(best, (-1, self.even)), self.even)[1]
        going, staying = order[:, : self.merged], self._ascending(order[:, self.merged :])
        stays = ops.reshape(2 * staying, (-1, self.left, 1)) == self.places
        takes = ops.reshape(self._takers(going, partner), (-1, 1, self.tokens)) == self.odds
        matrix = self.concat((stays.astype(ms.float32), takes.astype(ms.float32)))
        return ops.stop_gradient(matrix).astype(keys.dtype)

    def _takers(self, going: ms.Tensor, partner: ms.Tensor) -> ms.Tensor:
        """Return which token of odd index each of all tokens goes to, -1 for none, ``(B, N)``."""
        goes = (ops.reshape(going, (-1, self.merged, 1)) == self.evens).astype(ms.int32).sum(1)
        evens = goes * (ops.reshape(partner, (-1, self.even)) + 1) - 1
        # even and odd in turns; one odd too many where N is odd
        takers = ops.stack((evens, 0 * evens + self.evens), 2)
        return ops.reshape(takers, (-1, 2 * self.even))[:, : self.tokens]

    def _ascending(self, index: ms.Tensor) -> ms.Tensor:
        """Sort indices, so that the class token stays the first; exact in float32."""
        return (-self.top(-index.astype(ms.float32), self.left)[0]).astype(ms.int32)


class MergingBlock(nn.Cell):
    """A block whose tokens merge between attention and MLP; its parts keep their names.

    Args:
        block: whose parts it takes; its attention may be grouped.
        tokens: N, the class token included.
        merged: how many go; 0 leaves all.
    """

    def __init__(self, block: Block, tokens: int, merged: int) -> None:
        super().__init__()
        self.norm1, self.attn, self.norm2, self.mlp = (
            block.norm1, block.attn, block.norm2, block.mlp
        )  # fmt: skip
        layout, self.head_dim = block.attn.layout, block.attn.head_dim
        self.heads = layout.keys
        self.start = layout.queries * self.head_dim
        self.stop = self.start + layout.keys * self.head_dim
        self.tokens, self.merged = tokens, merged
        self.matching = Matching(tokens, merged) if merged else None
        self.product = ops.BatchMatMul()

    def construct(self, x: ms.Tensor, size: ms.Tensor) -> tuple[ms.Tensor, ms.Tensor]:
        """Run the block.

        Args:
            x: ``(B, N, dim)``.
            size: ``(B, N, 1)``, how many patches are in each token.

        Returns:
            ``(B, N - r, dim)`` and their sizes.
        """
        qkv = self.attn.qkv(self.norm1(x))
        # proportional attention: a token counts as often as there are patches in it
        mask = ops.reshape(ops.log(size), (-1, 1, 1, self.tokens))
        y, _ = self.attn.core(qkv, mask)
        x = x + self.attn.proj(y)
        if self.matching is not None:
            keys = qkv[:, :, self.start : self.stop]
            keys = ops.reshape(keys, (-1, self.tokens, self.heads, self.head_dim)).mean(2)
            matrix = self.matching(keys)
            total, size = self.product(matrix, x * size), self.product(matrix, size)
            x = total / size
        return x + self.mlp(self.norm2(x)), size


class MergingBlocks(nn.Cell):
    """A ViT's blocks, each with fewer tokens than the one before; blocks keep their names.

    Args:
        blocks: of the network.
        tokens: of an image, the class token included.
        merged: how many go in each block.
    """

    def __init__(self, blocks: Sequence[Block], tokens: int, merged: int) -> None:
        super().__init__()
        counts = pairwise(token_counts(tokens, len(blocks), merged))
        sequence = [
            MergingBlock(block, before, before - after)
            for block, (before, after) in zip(blocks, counts, strict=True)
        ]
        for index, block in enumerate(sequence):
            self.insert_child_to_cell(str(index), block)
        self.sequence = tuple(sequence)

    def construct(self, x: ms.Tensor) -> ms.Tensor:
        """Map ``(B, N, dim)`` to ``(B, what is left, dim)``, the class token first."""
        size = ops.ones((x.shape[0], x.shape[1], 1), x.dtype)
        for block in self.sequence:
            x, size = block(x, size)
        return x

    def __getitem__(self, index: int) -> MergingBlock:
        return self.sequence[index]

    def __len__(self) -> int:
        return len(self.sequence)


def merge_tokens(network: nn.Cell, merged: int) -> nn.Cell:
    """Return a copy of a ViT that merges so many tokens in each block; weights keep their names.

    Raises:
        PlanError: the network is no ViT with a class token.
    """
    if not isinstance(network, VisionTransformer) or network.cls_token is None:
        raise PlanError(
            f"tome: {type(network).__name__} is no vision transformer with a class token; "
            "build one of `ms-eff list` with pool: token"
        )
    rows, columns = network.grid
    names = [parameter.name for parameter in network.blocks.get_parameters()]
    # copied with the names they have: a cell renames what is put into it
    blocks = MergingBlocks(copy.deepcopy(list(network.blocks)), rows * columns + 1, merged)
    for parameter, name in zip(blocks.get_parameters(), names, strict=True):
        parameter.name = name
    blocks.set_train(network.training)
    return replaced(network, [(network.blocks, blocks)])


class ToMe(Method):
    """Token merging as the trainer knows it. Settings: `ToMeSettings`."""

    settings: ToMeSettings

    name: ClassVar[str] = "tome"
    stage: ClassVar[str] = "merged"

    def change_model(self, model: nn.Cell, context: ModelContext) -> nn.Cell:
        """Return the network with merging in it; sets plan and report."""
        changed = merge_tokens(model, self.settings.merged)
        macs = [totals(count(x, context.input_shape))["macs"] for x in (model, changed)]
        self.plan = {"merged": self.settings.merged}
        self.report = {**self.plan, "ideal_gain": macs[0] / macs[1] - 1}
        return changed

    @classmethod
    def rebuild(cls, model: nn.Cell, plan: dict[str, Any]) -> nn.Cell:
        """Give a freshly built model the merging of a plan."""
        return merge_tokens(model, plan["merged"])
