"""MATE-KD's generator in plain torch (arXiv:2105.05812)."""

from __future__ import annotations

import math

import torch
from torch import nn
from torch.nn import functional

__all__ = ["generated"]


def generated(
    table: list[list[float]],
    vocab: int,
    dim: int,
    positions: int,
    share: float,
    special: list[int],
    batch: int,
) -> nn.Module:
    """Return the generator's logits, softmax and token vectors of the masked places, side by side.

    Which tokens are masked follows from `scores`, what is drawn from `noise`: data, as the weights.
    """
    return _Generated(torch.tensor(table), positions, share, special, batch)


class _Block(nn.Module):
    """A post-norm block of one head."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.attn = nn.Module()
        self.attn.qkv, self.attn.proj = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)
        self.fc1, self.fc2 = nn.Linear(dim, 4 * dim), nn.Linear(4 * dim, dim)
        self.norm1, self.norm2 = nn.LayerNorm(dim, 1e-12), nn.LayerNorm(dim, 1e-12)

    def forward(self, x: torch.Tensor, kept: torch.Tensor) -> torch.Tensor:
        q, k, v = self.attn.qkv(x).chunk(3, -1)
        y = functional.scaled_dot_product_attention(q, k, v, kept[:, None])
        x = self.norm1(x + self.attn.proj(y))
        return self.norm2(x + self.fc2(functional.gelu(self.fc1(x))))


class _Generator(nn.Module):
    def __init__(self, vocab: int, dim: int, positions: int) -> None:
        super().__init__()
        self.word = nn.Parameter(torch.zeros(vocab, dim))
        self.masked = nn.Parameter(torch.zeros(dim))
        self.position = nn.Parameter(torch.zeros(positions, dim))
        self.norm, self.last_norm = nn.LayerNorm(dim, 1e-12), nn.LayerNorm(dim, 1e-12)
        self.blocks = nn.ModuleList([_Block(dim)])
        self.transform = nn.Linear(dim, dim)
        self.bias = nn.Parameter(torch.zeros(vocab))

    def forward(self, ids: torch.Tensor, kept: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
        """Return the logits of the places (B, K); -1 stands for no place, a vector of zeros."""
        chosen = (torch.arange(ids.shape[1]) == places[..., None]).any(1)
        x = torch.where(chosen[..., None], self.masked, self.word[ids]) + self.position
        x = self.norm(x)
        for block in self.blocks:
            x = block(x, kept)
        rows = x.gather(1, places.clamp(0)[..., None].expand(-1, -1, x.shape[-1]))
        rows = (rows * (places >= 0)[..., None]).flatten(0, 1)
        return self.last_norm(functional.gelu(self.transform(rows))) @ self.word.T + self.bias


class _Generated(nn.Module):
    def __init__(
        self, table: torch.Tensor, positions: int, share: float, special: list[int], batch: int
    ) -> None:
        super().__init__()
        self.generator = _Generator(*table.shape, positions)
        self.share, self.special = share, special
        self.most = max(math.floor(share * positions + 0.5), 1)
        self.register_buffer("table", table, persistent=False)
        self.filler = nn.Module()
        self.filler.register_buffer("scores", torch.zeros(batch, positions))
        starts = torch.zeros(batch, self.most, dtype=torch.int32)
        self.filler.register_buffer("starts", starts)
        self.register_buffer("noise", torch.zeros(batch * self.most, len(table)))

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        ids, kept = tokens[:, 0].long(), tokens[:, 1] > 4
        logits = self.generator(ids, kept, self.places(ids, kept))
        noisy = logits + self.noise
        soft = functional.softmax(noisy / 0.7, -1)
        # a draw that passes on the softmax's gradient
        onehot = functional.one_hot(noisy.argmax(-1), soft.shape[-1])
        vectors = (onehot - soft.detach() + soft) @ self.table
        return torch.cat((logits, soft, vectors), 1)

    def places(self, ids: torch.Tensor, kept: torch.Tensor) -> torch.Tensor:
        """Return (B, K): a text's free places of the highest scores, -1 behind the last."""
        found = torch.full((len(ids), self.most), -1)
        for row, (text, keeps) in enumerate(zip(ids.tolist(), kept.tolist(), strict=True)):
            scores = self.filler.scores[row].tolist()
            free = [i for i, token in enumerate(text) if keeps[i] and token not in self.special]
            free.sort(key=scores.__getitem__, reverse=True)
            count = math.floor(self.share * len(free) + 0.5)
            found[row, :count] = torch.tensor(free[:count], dtype=torch.long)
        return found
