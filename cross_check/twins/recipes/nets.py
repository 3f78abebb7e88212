"""Networks that only recipes train."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import nn
from torch.nn import functional

from cross_check.twins import lowrank

__all__ = ["net"]


def net(
    width: int = 6,
    filters: list[int] | None = None,
    splits: int = 1,
    ranks: Mapping[str, list[int]] | None = None,
    branches: int = 1,
) -> nn.Module:
    """Return two convolutions with norms and tanh, a mean over the image, and a classifier.

    Args:
        width: channels of the first convolution.
        filters: shape of the fixed filters that see the images; a 1x1 convolution follows.
        splits: parts of a batch that are normalised each by itself.
        ranks: of the layers that are in factors.
        branches: of the 3x3 convolution's core.
    """
    network = _Net(width, filters, splits)
    for name, rank in (ranks or {}).items():
        if name == "fc":
            network.fc = lowrank.dense({"": rank}, 2 * width, 3)
        else:
            shape = {"kernel_size": 3, "stride": 2, "padding": 1, "bias": False}
            network.conv2 = lowrank.conv({"": rank}, width, 2 * width, branches, **shape)
    return network


class _Net(nn.Module):
    def __init__(self, width: int, filters: list[int] | None, splits: int) -> None:
        super().__init__()
        norm: Callable[[int], nn.Module] = nn.BatchNorm2d
        if splits > 1:
            norm = lambda channels: _PartsNorm(channels, splits)  # noqa: E731
        self.conv1: nn.Module = nn.Conv2d(3, width, 3, padding=1, bias=False)
        if filters is not None:
            self.conv1 = _Whitened(filters, width)
        self.bn1 = norm(width)
        self.conv2: nn.Module = nn.Conv2d(width, 2 * width, 3, stride=2, padding=1, bias=False)
        self.bn2 = norm(2 * width)
        self.fc: nn.Module = nn.Linear(2 * width, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.tanh(self.bn1(self.conv1(x)))
        x = torch.tanh(self.bn2(self.conv2(x)))
        return self.fc(x.mean((2, 3)))


class _Whitened(nn.Module):
    """Fixed filters over zeros around the image, at the end first where they are even."""

    def __init__(self, shape: list[int], channels: int) -> None:
        super().__init__()
        self.whiten = nn.Module()
        self.whiten.register_buffer("filters", torch.zeros(shape))
        self.mix = nn.Conv2d(shape[0], channels, 1, bias=False)
        side = shape[-1]
        self.border = ((side - 1) // 2, side // 2) * 2

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = functional.pad(x, self.border)
        return self.mix(functional.conv2d(x, self.whiten.filters))


class _PartsNorm(nn.BatchNorm2d):
    """Batch normalisation of parts, one after the other (arXiv:1705.08741).

    Part i takes every `splits`th sample from i on. Running statistics move once a batch, to the
    mean of the parts'.
    """

    def __init__(self, channels: int, splits: int) -> None:
        super().__init__(channels)
        self.splits = splits

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not self.training:
            return super().forward(x)
        y, means, variances = torch.empty_like(x), [], []
        for i in range(self.splits):
            part = x[i :: self.splits]
            y[i :: self.splits] = functional.batch_norm(
                part, None, None, self.weight, self.bias, True, 0.0, self.eps
            )
            means.append(part.detach().mean((0, 2, 3)))
            variances.append(part.detach().var((0, 2, 3)))
        self.running_mean.lerp_(torch.stack(means).mean(0), self.momentum)
        self.running_var.lerp_(torch.stack(variances).mean(0), self.momentum)
        return y
