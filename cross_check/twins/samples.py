"""Smaller images and weighted samples in plain torch."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

__all__ = ["shrunk", "weighted"]


def shrunk(channels: int, side: int) -> nn.Module:
    """Return a convolution over images that torch shrinks to the means of areas."""
    return _Shrunk(channels, side)


def weighted(inputs: int, outputs: int, weights: list[float]) -> nn.Module:
    """Return a dense layer whose outputs' gradients are multiplied by the samples' weights."""
    return _Weighted(inputs, outputs, weights)


class _Shrunk(nn.Module):
    def __init__(self, channels: int, side: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, channels, 3, padding=1)
        self.side = side

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.conv(functional.interpolate(x, (self.side, self.side), mode="area"))


class _Weighted(nn.Module):
    def __init__(self, inputs: int, outputs: int, weights: list[float]) -> None:
        super().__init__()
        self.dense = nn.Linear(inputs, outputs)
        self.register_buffer("weights", torch.tensor(weights)[:, None], persistent=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.dense(x)
        return y.detach() + self.weights * (y - y.detach())
