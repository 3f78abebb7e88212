"""Parts of networks for text in plain torch: dropout by tables, losses of the next token."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

__all__ = ["dropout", "gpt2_block", "token_losses"]

# rows of the two tables
_ROWS = (1021, 1019)


def dropout(inputs: int, dim: int, rate: float, **_: int) -> nn.Module:
    """Return a dense layer and dropout whose masks are products of rows of two tables.

    Each table keeps the root of the share that is kept, and is scaled by it.
    """
    return nn.Sequential(nn.Linear(inputs, dim), _Dropout(dim, rate))


def gpt2_block(dim: int, heads: int, **_: Any) -> nn.Module:
    """Return one block of GPT-2 under a causal mask."""
    return _Placed(dim, heads)


def token_losses(vocab: int, dim: int, smoothing: float) -> nn.Module:
    """Return the losses of each next token, their smoothed mean with a gap, and the plain mean."""
    return _TokenLosses(vocab, dim, smoothing)


class _Dropout(nn.Module):
    def __init__(self, dim: int, rate: float) -> None:
        super().__init__()
        rng, kept = np.random.default_rng(0), (1 - rate) ** 0.5
        tables = [rng.random((rows, dim), dtype=np.float32) < kept for rows in _ROWS]
        for name, table in zip(("one", "other"), tables, strict=True):
            self.register_buffer(name, torch.from_numpy(table) / kept, persistent=False)
        self.register_buffer("drawn", torch.tensor(0, dtype=torch.int32))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not self.training:
            return x
        rows = int(self.drawn) + torch.arange(len(x), device=x.device)
        self.drawn += len(x)
        return x * self.one[rows % _ROWS[0]] * self.other[rows % _ROWS[1]]


class _Placed(nn.Module):
    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.block = _Gpt2Block(dim, heads)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.block(x)


class _Attention(nn.Module):
    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv, self.proj = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        parts = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        y = functional.scaled_dot_product_attention(*parts, is_causal=True)
        return self.proj(y.transpose(1, 2).flatten(2))


class _Gpt2Block(nn.Module):
    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.attn = _Attention(dim, heads)
        self.fc1, self.fc2 = nn.Linear(dim, 4 * dim), nn.Linear(4 * dim, dim)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x + self.attn(self.norm1(x))
        return x + self.fc2(functional.gelu(self.fc1(self.norm2(x)), approximate="tanh"))


class _TokenLosses(nn.Module):
    def __init__(self, vocab: int, dim: int, smoothing: float) -> None:
        super().__init__()
        self.network = nn.Sequential(nn.Embedding(vocab, dim), nn.Linear(dim, vocab))
        self.smoothing = smoothing

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        ids = ids.long()
        rows, labels = self.network(ids)[:, :-1].flatten(0, 1), ids[:, 1:]
        each = functional.cross_entropy(rows, labels.flatten(), reduction="none")
        gapped = labels.clone()
        gapped[:, 0] = -100
        smoothed = functional.cross_entropy(rows, gapped.flatten(), label_smoothing=self.smoothing)
        return torch.cat((each, smoothed[None], each.mean()[None]))
