"""Training of a vision transformer whose unimportant tokens skip blocks (arXiv:2401.15293)."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from cross_check.twins.recipes import loop
from cross_check.twins.recipes.given import Batch, Given, Trained

__all__ = ["train"]


def train(given: Given) -> Trained:
    """Train the first epochs without skipping, the others with; inference as the settings say.

    Tokens are told apart by a mask over all of them: those that skip keep what they were before,
    and the others attend among themselves.
    """
    wishes = given.methods["skipvit"]
    network = given.network()
    random = wishes["score"] == "random"
    inferred = not random and wishes["inference"] != "dense"
    warm = round(wishes["warmup"] * given.epochs)
    plain, now = network.forward, {"routed": False, "scores": None}

    def before_step(batch: Batch) -> None:
        now.update(routed=batch.epoch >= warm, scores=batch.more.get("scores"))

    def forward(images: torch.Tensor) -> torch.Tensor:
        routed = now["routed"] if network.training else inferred
        if not routed:
            return plain(images)
        return _routed(network, images, wishes, now["scores"] if random else None)

    network.forward = forward
    return loop.train(given, network, before_step=before_step)


def _routed(
    network: Any, images: torch.Tensor, wishes: Any, scores: torch.Tensor | None
) -> torch.Tensor:
    x = network.patch_embed(images)
    x = torch.cat([network.cls_token.expand(len(x), -1, -1), x], 1) + network.pos_embed
    for i, block in enumerate(network.blocks):
        if i == wishes["score_block"] and scores is None:
            scores = _attention_of_class(block, x)
        if i == wishes["score_block"] + 1:
            assert scores is not None
            stays = _staying(scores, round(wishes["drop"] * scores.shape[1]))
        if wishes["score_block"] < i < wishes["merge_block"]:
            x = _some(block, x, stays)
        else:
            x = block(x)
    return network.head(network.norm(x)[:, 0])


def _attention_of_class(block: Any, x: torch.Tensor) -> torch.Tensor:
    """Return (B, N): the mean over the heads of how much the class token attends to a patch."""
    attention = block.attn
    images, tokens, dim = x.shape
    qkv = attention.qkv(block.norm1(x)).view(images, tokens, 3, attention.heads, -1)
    q, k = qkv[:, 0, 0], qkv[:, :, 1]
    products = torch.einsum("bhd,bnhd->bhn", q, k) / (dim // attention.heads) ** 0.5
    return products.softmax(-1).mean(1)[:, 1:].detach()


def _staying(scores: torch.Tensor, dropped: int) -> torch.Tensor:
    """Return (B, 1 + N), which tokens stay: the class token, and all but the lowest scores."""
    stays = torch.ones_like(scores, dtype=torch.bool)
    stays.scatter_(1, scores.argsort(1)[:, :dropped], False)
    return torch.cat([torch.ones_like(stays[:, :1]), stays], 1)


def _some(block: nn.Module, x: torch.Tensor, stays: torch.Tensor) -> torch.Tensor:
    """Run a block on the tokens that stay, image by image; the others are left as they are."""
    rows = []
    for tokens, chosen in zip(x, stays, strict=True):
        row = tokens.clone()
        row[chosen] = block(tokens[chosen][None])[0]
        rows.append(row)
    return torch.stack(rows)
