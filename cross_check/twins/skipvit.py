"""A vision transformer whose unimportant tokens skip blocks, in plain torch (arXiv:2401.15293)."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import nn

from cross_check.twins.vit import plain_vit

__all__ = ["attentive", "random"]

# rows of the table of random scores
_ROWS = 1021


def attentive(kept: int, score: int, merge: int, **vit: Any) -> nn.Module:
    """Return one in which the class token's attention says which patches go on, always."""
    network = plain_vit(**vit)
    network.blocks = _Routed(network.blocks, kept, score, merge)
    return network


def random(kept: int, score: int, merge: int, seed: int, **vit: Any) -> nn.Module:
    """Return one in which a table of random numbers says so, in training only."""
    network = plain_vit(**vit)
    patches = (vit["image_size"] // vit["patch_size"]) ** 2
    table = np.random.default_rng(seed).random((_ROWS, patches), dtype=np.float32)
    network.blocks = _RandomlyRouted(network.blocks, kept, score, merge, torch.from_numpy(table))
    return network


class _Routed(nn.Sequential):
    def __init__(self, blocks: nn.Sequential, kept: int, score: int, merge: int) -> None:
        super().__init__(*blocks)
        self.kept, self.score, self.merge = kept, score, merge
        self.depth = len(blocks)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        blocks = [getattr(self, str(index)) for index in range(self.depth)]
        for block in blocks[: self.score]:
            x = block(x)
        scores = self.scores(x, blocks[self.score])
        x = blocks[self.score](x)
        chosen = torch.zeros_like(scores, dtype=torch.bool)
        chosen.scatter_(1, scores.topk(self.kept).indices, True)
        goes = torch.cat((torch.ones_like(chosen[:, :1]), chosen), 1)
        # image by image, each with its own tokens; those that skip stay as they are
        images = []
        for image, stays in zip(x, goes, strict=True):
            few = image[None, stays]
            for block in blocks[self.score + 1 : self.merge]:
                few = block(few)
            images.append(image.masked_scatter(stays[:, None], few))
        x = torch.stack(images)
        for block in blocks[self.merge :]:
            x = block(x)
        return x

    def scores(self, x: torch.Tensor, block: nn.Module) -> torch.Tensor:
        """Return how much the class token attends to each patch, the mean over the heads."""
        attention, y = block.attn, block.norm1(x.detach())
        q, k, _ = attention.qkv(y).unflatten(-1, (3, attention.heads, -1)).unbind(2)
        weights = torch.einsum("bhd,bnhd->bhn", q[:, 0], k) / q.shape[-1] ** 0.5
        return weights.softmax(-1).mean(1)[:, 1:].detach()


class _RandomlyRouted(_Routed):
    def __init__(
        self, blocks: nn.Sequential, kept: int, score: int, merge: int, table: torch.Tensor
    ) -> None:
        super().__init__(blocks, kept, score, merge)
        self.random = nn.Module()
        self.random.register_buffer("drawn", torch.tensor(0, dtype=torch.int32))
        self.register_buffer("table", table, persistent=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.training:
            return super().forward(x)
        for index in range(self.depth):
            x = getattr(self, str(index))(x)
        return x

    def scores(self, x: torch.Tensor, block: nn.Module) -> torch.Tensor:
        rows = (int(self.random.drawn) + torch.arange(len(x), device=x.device)) % _ROWS
        self.random.drawn.copy_((self.random.drawn + len(x)) % _ROWS)
        return self.table[rows]
