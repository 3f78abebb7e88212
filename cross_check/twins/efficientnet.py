"""EfficientNet-Lite0 in plain torch, under the names of the published weights."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

__all__ = ["EfficientNetLite0", "lite0", "mbconvs"]

STAGES = [
    (1, 3, 1, 1, 16), (2, 3, 2, 6, 24), (2, 5, 2, 6, 40), (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112), (4, 5, 2, 6, 192), (1, 3, 1, 6, 320),
]  # fmt: skip


class Same(nn.Conv2d):
    """A convolution padded as TensorFlow does: output = ceil(input / stride)."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        pads = []
        for axis in (3, 2):
            size, kernel, stride = x.shape[axis], self.kernel_size[axis - 2], self.stride[axis - 2]
            total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
            pads += [total // 2, total - total // 2]
        return super().forward(F.pad(x, pads))


def conv(inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> Same:
    return Same(inputs, outputs, kernel, stride, groups=groups, bias=False)


class Block(nn.Module):
    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, factor: int) -> None:
        super().__init__()
        inner = inputs * factor
        if factor > 1:
            self._expand_conv = conv(inputs, inner, 1)
            self._bn0 = nn.BatchNorm2d(inner, eps=1e-3, momentum=0.01)
        self._depthwise_conv = conv(inner, inner, kernel, stride, inner)
        self._bn1 = nn.BatchNorm2d(inner, eps=1e-3, momentum=0.01)
        self._project_conv = conv(inner, outputs, 1)
        self._bn2 = nn.BatchNorm2d(outputs, eps=1e-3, momentum=0.01)
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = x
        if hasattr(self, "_expand_conv"):
            y = F.relu6(self._bn0(self._expand_conv(y)))
        y = F.relu6(self._bn1(self._depthwise_conv(y)))
        y = self._bn2(self._project_conv(y))
        return x + y if self.residual else y


class EfficientNetLite0(nn.Module):
    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self._conv_stem = conv(3, 32, 3, 2)
        self._bn0 = nn.BatchNorm2d(32, eps=1e-3, momentum=0.01)
        blocks, inputs = [], 32
        for count, kernel, first, factor, outputs in STAGES:
            for position in range(count):
                stride = 1 if position else first
                blocks.append(Block(inputs, outputs, kernel, stride, factor))
                inputs = outputs
        self._blocks = nn.ModuleList(blocks)
        self._conv_head = conv(inputs, 1280, 1)
        self._bn1 = nn.BatchNorm2d(1280, eps=1e-3, momentum=0.01)
        self._fc = nn.Linear(1280, num_classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.relu6(self._bn0(self._conv_stem(x)))
        for block in self._blocks:
            x = block(x)
        x = F.relu6(self._bn1(self._conv_head(x)))
        return self._fc(x.mean((2, 3)))


class Blocks(nn.Module):
    def __init__(self, blocks: list[list[int]]) -> None:
        super().__init__()
        self._blocks = nn.ModuleList(
            [
                Block(inputs, outputs, kernel, stride, factor)
                for inputs, outputs, kernel, stride, factor in blocks
            ]
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for block in self._blocks:
            x = block(x)
        return x


def lite0(num_classes: int, resting: bool = False) -> nn.Module:
    """Return the whole network; its statistics may rest in training too."""
    return _Resting(num_classes) if resting else EfficientNetLite0(num_classes)


class _Resting(EfficientNetLite0):
    def train(self, mode: bool = True) -> nn.Module:
        super().train(mode)
        for part in self.modules():
            if isinstance(part, nn.BatchNorm2d):
                part.training = False
        return self


def mbconvs(blocks: list[list[int]]) -> nn.Module:
    """Return blocks (inputs, outputs, kernel, stride, expansion) in series."""
    return Blocks(blocks)
