"""The front of Inception-V3 in plain torch under torchvision's names (arXiv:1512.00567)."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

__all__ = ["InceptionFront"]


class InceptionFront(nn.Module):
    """Images to 96 channels: up to the double 3x3 branch of the third mixed block."""

    def __init__(self) -> None:
        super().__init__()
        self.Conv2d_1a_3x3 = _Conv(3, 32, 3, stride=2)
        self.Conv2d_2a_3x3 = _Conv(32, 32, 3)
        self.Conv2d_2b_3x3 = _Conv(32, 64, 3, padding=1)
        self.Conv2d_3b_1x1 = _Conv(64, 80, 1)
        self.Conv2d_4a_3x3 = _Conv(80, 192, 3)
        self.Mixed_5b = _Mixed(192, 32)
        self.Mixed_5c = _Mixed(256, 64)
        self.Mixed_5d = _DoubleThree(288)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.Conv2d_2b_3x3(self.Conv2d_2a_3x3(self.Conv2d_1a_3x3(x)))
        x = self.Conv2d_3b_1x1(functional.max_pool2d(x, 3, 2))
        x = functional.max_pool2d(self.Conv2d_4a_3x3(x), 3, 2)
        return self.Mixed_5d(self.Mixed_5c(self.Mixed_5b(x)))


class _Conv(nn.Module):
    def __init__(self, C: int, S: int, kernel: int, stride: int = 1, padding: int = 0) -> None:
        super().__init__()
        self.conv = nn.Conv2d(C, S, kernel, stride, padding, bias=False)
        self.bn = nn.BatchNorm2d(S, eps=1e-3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(self.bn(self.conv(x)))


class _DoubleThree(nn.Module):
    def __init__(self, C: int) -> None:
        super().__init__()
        self.branch3x3dbl_1 = _Conv(C, 64, 1)
        self.branch3x3dbl_2 = _Conv(64, 96, 3, padding=1)
        self.branch3x3dbl_3 = _Conv(96, 96, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.branch3x3dbl_3(self.branch3x3dbl_2(self.branch3x3dbl_1(x)))


class _Mixed(_DoubleThree):
    def __init__(self, C: int, pooled: int) -> None:
        super().__init__(C)
        self.branch1x1 = _Conv(C, 64, 1)
        self.branch5x5_1 = _Conv(C, 48, 1)
        self.branch5x5_2 = _Conv(48, 64, 5, padding=2)
        self.branch_pool = _Conv(C, pooled, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        mean = functional.avg_pool2d(x, 3, 1, padding=1)
        branches = (
            self.branch1x1(x),
            self.branch5x5_2(self.branch5x5_1(x)),
            super().forward(x),
            self.branch_pool(mean),
        )
        return torch.cat(branches, 1)
