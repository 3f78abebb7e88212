"""ResNet-18/34/50/101/152, stride in the 3x3 convolution ("v1.5") (arXiv:1512.03385).

Cells carry torchvision's names (``layer1.0.conv1``, ``layer1.0.downsample.0``, ``fc``), so weights
and layer patterns of the field apply as they are.
"""

from __future__ import annotations

from typing import Any, ClassVar

import mindspore as ms
import numpy as np
from mindspore import nn, ops

from ms_eff.errors import ConfigError
from ms_eff.models.initial import batch_norm, conv2d, dense

__all__ = [
    "BasicBlock",
    "Bottleneck",
    "ResNet",
    "resnet18",
    "resnet34",
    "resnet50",
    "resnet101",
    "resnet152",
]


class BasicBlock(nn.Cell):
    """Two 3x3 convolutions and the shortcut.

    Args:
        rng: source of the initial weights.
        in_channels: channels of the input.
        channels: the stage's channels; the output has ``channels * expansion``.
        stride: stride of the first 3x3 convolution and of the shortcut.
        last_gamma: initial scale of the last normalisation; 0 makes the block an identity.
    """

    expansion: ClassVar[int] = 1

    def __init__(
        self,
        rng: np.random.Generator,
        in_channels: int,
        channels: int,
        stride: int = 1,
        last_gamma: float = 1.0,
    ) -> None:
        super().__init__()
        self.conv1 = conv2d(rng, in_channels, channels, 3, stride)
        self.bn1 = batch_norm(channels)
        self.conv2 = conv2d(rng, channels, channels, 3)
        self.bn2 = batch_norm(channels, last_gamma)
        self.relu = nn.ReLU()
        self.downsample = _shortcut(rng, in_channels, channels * self.expansion, stride)

    def construct(self, x: ms.Tensor) -> ms.Tensor:
        """Map ``(N, in_channels, H, W)`` to ``(N, channels, H/stride, W/stride)``."""
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        if self.downsample is not None:
            x = self.downsample(x)
        return self.relu(x + y)


class Bottleneck(nn.Cell):
    """1x1, 3x3, 1x1 convolutions and the shortcut; arguments as `BasicBlock`'s."""

    expansion: ClassVar[int] = 4

    def __init__(
        self,
        rng: np.random.Generator,
        in_channels: int,
        channels: int,
        stride: int = 1,
        last_gamma: float = 1.0,
    ) -> None:
        super().__init__()
        out_channels = channels * self.expansion
        self.conv1 = conv2d(rng, in_channels, channels, 1)
        self.bn1 = batch_norm(channels)
        self.conv2 = conv2d(rng, channels, channels, 3, stride)
        self.bn2 = batch_norm(channels)
        self.conv3 = conv2d(rng, channels, out_channels, 1)
        self.bn3 = batch_norm(out_channels, last_gamma)
        self.relu = nn.ReLU()
        self.downsample = _shortcut(rng, in_channels, out_channels, stride)

    def construct(self, x: ms.Tensor) -> ms.Tensor:
        """Map ``(N, in_channels, H, W)`` to ``(N, 4 * channels, H/stride, W/stride)``."""
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        if self.downsample is not None:
            x = self.downsample(x)
        return self.relu(x + y)


class ResNet(nn.Cell):
    """A residual network of four stages.

    Args:
        block: `BasicBlock` or `Bottleneck`.
        layers: blocks in each of the four stages.
        num_classes: outputs of the last layer.
        in_channels: channels of the input images.
        width: channels of the stem and of the first stage; doubled by each later stage.
        stem: ``imagenet`` (7x7 stride 2, then 3x3 max pool stride 2) or ``cifar`` (3x3 stride 1).
        zero_init_residual: start each block as an identity (arXiv:1706.02677).
        seed: of the initial weights.

    Raises:
        ConfigError: for another stem or a size below 1.
    """

    def __init__(
        self,
        block: type[BasicBlock | Bottleneck],
        layers: tuple[int, int, int, int],
        *,
        num_classes: int = 1000,
        in_channels: int = 3,
        width: int = 64,
        stem: str = "imagenet",
        zero_init_residual: bool = False,
        seed: int = 0,
    ) -> None:
        super().__init__()
        _check(num_classes=num_classes, in_channels=in_channels, width=width)
        if stem not in ("imagenet", "cifar"):
            raise ConfigError(f"stem: expected 'imagenet' or 'cifar', got {stem!r}")
        rng = np.random.default_rng(seed)
        last_gamma = 0.0 if zero_init_residual else 1.0
        if stem == "imagenet":
            self.conv1 = conv2d(rng, in_channels, width, 7, 2)
            self.maxpool: nn.Cell | None = _PaddedMaxPool()
        else:
            self.conv1 = conv2d(rng, in_channels, width, 3)
            self.maxpool = None
        self.bn1 = batch_norm(width)
        self.relu = nn.ReLU()
        previous = width
        stages = []
        for index, count in enumerate(layers):
            channels = width * 2**index
            blocks = []
            for position in range(count):
                stride = 2 if index > 0 and position == 0 else 1
                blocks.append(block(rng, previous, channels, stride, last_gamma))
                previous = channels * block.expansion
            stages.append(nn.SequentialCell(blocks))
        self.layer1, self.layer2, self.layer3, self.layer4 = stages
        self.fc = dense(rng, previous, num_classes)

    def construct(self, x: ms.Tensor) -> ms.Tensor:
        """Return logits ``(N, num_classes)`` of images ``(N, in_channels, H, W)``."""
        return self.fc(self.features(x))

    def features(self, x: ms.Tensor) -> ms.Tensor:
        """Return the pooled features ``(N, 8 * width * expansion)`` that the classifier sees."""
        x = self.relu(self.bn1(self.conv1(x)))
        if self.maxpool is not None:
            x = self.maxpool(x)
        x = self.layer1(x)
        x = self.layer2(x)
        x = self.layer3(x)
        x = self.layer4(x)
        return x.mean((2, 3))


class _PaddedMaxPool(nn.Cell):
    """3x3 max pool, stride 2, padding 1: the same numbers in two forms.

    Training takes MindSpore's own padded pool, which has the fastest gradient on a CPU. The ONNX
    exporter lacks it, and padding an input first takes a sixth of a ResNet-50's whole forward; so
    inference repeats the border's first row and column (and, for odd sizes, the last): every
    window at that border holds them anyway.
    """

    def __init__(self) -> None:
        super().__init__()
        self.padded = nn.MaxPool2d(3, 2, pad_mode="pad", padding=1)
        self.pool = nn.MaxPool2d(3, 2, pad_mode="valid")

    def construct(self, x: ms.Tensor) -> ms.Tensor:
        if self.training:
            return self.padded(x)
        rows, columns = x.shape[2:]
        x = ops.concat(_with_border(x[:, :, :1], x, x[:, :, -1:], rows), 2)
        x = ops.concat(_with_border(x[:, :, :, :1], x, x[:, :, :, -1:], columns), 3)
        return self.pool(x)


def _with_border(
    first: ms.Tensor, x: ms.Tensor, last: ms.Tensor, size: int
) -> tuple[ms.Tensor, ...]:
    """Return what to put together along an axis; a stride of 2 leaves an even size's end alone."""
    return (first, x, last) if size % 2 else (first, x)


def _shortcut(
    rng: np.random.Generator, in_channels: int, out_channels: int, stride: int
) -> nn.SequentialCell | None:
    if stride == 1 and in_channels == out_channels:
        return None
    return nn.SequentialCell(
        [conv2d(rng, in_channels, out_channels, 1, stride), batch_norm(out_channels)]
    )


def _check(**sizes: int) -> None:
    for name, size in sizes.items():
        if size < 1:
            raise ConfigError(f"{name}: expected at least 1, got {size}")


def resnet18(**args: Any) -> ResNet:
    """Return ResNet-18 (11,689,512 parameters at 1000 classes); arguments as `ResNet`'s."""
    return ResNet(BasicBlock, (2, 2, 2, 2), **args)


def resnet34(**args: Any) -> ResNet:
    """Return ResNet-34 (21,797,672 parameters at 1000 classes); arguments as `ResNet`'s."""
    return ResNet(BasicBlock, (3, 4, 6, 3), **args)


def resnet50(**args: Any) -> ResNet:
    """Return ResNet-50 (25,557,032 parameters at 1000 classes); arguments as `ResNet`'s."""
    return ResNet(Bottleneck, (3, 4, 6, 3), **args)


def resnet101(**args: Any) -> ResNet:
    """Return ResNet-101 (44,549,160 parameters at 1000 classes); arguments as `ResNet`'s."""
    return ResNet(Bottleneck, (3, 4, 23, 3), **args)


def resnet152(**args: Any) -> ResNet:
    """Return ResNet-152 (60,192,808 parameters at 1000 classes); arguments as `ResNet`'s."""
    return ResNet(Bottleneck, (3, 8, 36, 3), **args)
