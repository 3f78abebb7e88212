"""ResNet-9 in plain torch, written from the paper's description (arXiv:2309.03965)."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn import functional

__all__ = ["ghost_resnet9", "plain_resnet9", "whitened_resnet9"]


def plain_resnet9(
    width: int = 64, num_classes: int = 10, in_channels: int = 3, form: str = "baseline"
) -> nn.Module:
    """Return the `baseline` or the `competition` form; images of 32 x 32."""
    return _ResNet9(width, num_classes, in_channels, form == "competition")


def ghost_resnet9(splits: int, **args: Any) -> nn.Module:
    """Return ResNet-9 with normalisations of parts of the batch (arXiv:1705.08741)."""
    network = plain_resnet9(**args)
    for owner in list(network.modules()):
        if isinstance(owner, _ConvBlock):
            owner.bn = _GhostNorm(owner.bn, splits)
    return network


def whitened_resnet9(filters: list[int], width: int, **args: Any) -> nn.Module:
    """Return ResNet-9 with resting filters and a 1x1 convolution in the place of its first."""
    network = plain_resnet9(width=width, **args)
    network.prep.conv = _Whitened(filters, width)
    return network


class _GhostNorm(nn.Module):
    """One plain normalisation a part: sample i is in part i modulo their number."""

    running_mean: torch.Tensor
    running_var: torch.Tensor

    def __init__(self, norm: nn.BatchNorm2d, splits: int) -> None:
        super().__init__()
        self.splits, self.rate, self.eps = splits, norm.momentum, norm.eps
        self.weight, self.bias = norm.weight, norm.bias
        channels = norm.num_features
        for name in ("running_mean", "running_var"):
            self.register_buffer(name, getattr(norm, name))
        # what each part had in the last batch
        for name in ("part_mean", "part_variance"):
            self.register_buffer(name, torch.zeros(splits * channels))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not self.training:
            return functional.batch_norm(
                x, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps
            )
        y, means, variances = torch.empty_like(x), [], []
        for part in range(self.splits):
            own = x[part :: self.splits]
            y[part :: self.splits] = functional.batch_norm(
                own, None, None, self.weight, self.bias, training=True, eps=self.eps
            )
            means.append(own.detach().mean((0, 2, 3)))
            variances.append(own.detach().var((0, 2, 3)))
        self.part_mean, self.part_variance = torch.cat(means), torch.cat(variances)
        self.running_mean = self.running_mean.lerp(sum(means) / self.splits, self.rate)
        self.running_var = self.running_var.lerp(sum(variances) / self.splits, self.rate)
        return y


class _Whitened(nn.Module):
    def __init__(self, filters: list[int], channels: int) -> None:
        super().__init__()
        self.whiten = nn.Module()
        self.whiten.register_buffer("filters", torch.zeros(filters))
        self.mix = nn.Conv2d(filters[0], channels, 1, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        # an even kernel has its odd pixel behind, as by `same`, which warns of the copy it makes
        margin = self.whiten.filters.shape[-1] - 1
        pads = (margin // 2, margin - margin // 2)
        return self.mix(functional.conv2d(functional.pad(x, pads + pads), self.whiten.filters))


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
