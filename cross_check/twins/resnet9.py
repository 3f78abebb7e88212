"""ResNet-9 in plain torch, written from the paper's description (arXiv:2309.03965)."""

from __future__ import annotations

import torch
from torch import nn

__all__ = ["plain_resnet9"]


def plain_resnet9(
    width: int = 64, num_classes: int = 10, in_channels: int = 3, form: str = "baseline"
) -> nn.Module:
    """Return the `baseline` or the `competition` form; images of 32 x 32."""
    return _ResNet9(width, num_classes, in_channels, form == "competition")


class _ConvBlock(nn.Module):
    def __init__(self, previous: int, channels: int, pool: bool, competition: bool) -> None:
        super().__init__()
        self.conv = nn.Conv2d(previous, channels, 3, padding=1, bias=False)
        self.bn = nn.BatchNorm2d(channels)
        self.bn.weight.requires_grad_(not competition)
        self.act = nn.CELU(0.3) if competition else nn.ReLU()
        self.pool = nn.MaxPool2d(2) if pool else nn.Identity()
        self.competition = competition

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.competition:
            return self.act(self.bn(self.pool(self.conv(x))))
        return self.pool(self.act(self.bn(self.conv(x))))


class _Residual(nn.Module):
    def __init__(self, channels: int, competition: bool) -> None:
        super().__init__()
        self.block1 = _ConvBlock(channels, channels, False, competition)
        self.block2 = _ConvBlock(channels, channels, False, competition)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.block2(self.block1(x))


class _ResNet9(nn.Module):
    def __init__(self, width: int, num_classes: int, in_channels: int, competition: bool) -> None:
        super().__init__()
        self.prep = _ConvBlock(in_channels, width, False, competition)
        self.layer1 = _ConvBlock(width, 2 * width, True, competition)
        self.residual1 = _Residual(2 * width, competition)
        self.layer2 = _ConvBlock(2 * width, 4 * width, True, competition)
        self.layer3 = _ConvBlock(4 * width, 8 * width, True, competition)
        self.residual3 = _Residual(8 * width, competition)
        self.pool = nn.MaxPool2d(4)
        self.fc = nn.Linear(8 * width, num_classes, bias=False)
        self.scale = 1 / 16 if competition else 1 / 8

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.residual1(self.layer1(self.prep(x)))
        x = self.residual3(self.layer3(self.layer2(x)))
        return self.fc(self.pool(x).flatten(1)) * self.scale
