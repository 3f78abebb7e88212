"""EfficientNet-Lite0: MBConv blocks without squeeze-and-excitation, ReLU6 (arXiv:1905.11946).

The variant that Google published for devices: stem and head keep their widths, and every operator
has a form that small accelerators know. "Same" padding as TensorFlow's, where the weights were
made: of an odd total, the larger half is at the end.
"""

from __future__ import annotations

import math
from typing import Any

import mindspore as ms
import numpy as np
from mindspore import nn

from ms_eff.errors import ConfigError
from ms_eff.models.initial import dense

__all__ = ["EfficientNetLite", "MBConv", "efficientnet_lite0"]

# (blocks, kernel, stride of the first, expansion, channels) of each stage
_STAGES = (
    (1, 3, 1, 1, 16), (2, 3, 2, 6, 24), (2, 5, 2, 6, 40), (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112), (4, 5, 2, 6, 192), (1, 3, 1, 6, 320),
)  # fmt: skip
_STEM, _HEAD = 32, 1280


class MBConv(nn.Cell):
    """Expand by a 1x1 convolution, filter depthwise, project by a 1x1 convolution.

    Args:
        rng: source of the initial weights.
        in_channels: channels of the input.
        channels: of the output; where both are equal and the stride is 1, the input is added.
        kernel: of the depthwise convolution.
        stride: likewise.
        expansion: channels between the 1x1 convolutions, as a multiple of `in_channels`; at 1 there
            is no expanding convolution.
    """

    def __init__(
        self,
        rng: np.random.Generator,
        in_channels: int,
        channels: int,
        kernel: int,
        stride: int,
        expansion: int,
    ) -> None:
        super().__init__()
        inner = in_channels * expansion
        self.expand_conv: nn.Cell | None = None
        if expansion > 1:
            self.expand_conv = _conv(rng, in_channels, inner, 1)
            self.bn0 = _norm(inner)
        self.depthwise_conv = _conv(rng, inner, inner, kernel, stride, group=inner)
        self.bn1 = _norm(inner)
        self.project_conv = _conv(rng, inner, channels, 1)
        self.bn2 = _norm(channels)
        self.relu6 = nn.ReLU6()
        self.adds = stride == 1 and in_channels == channels

    def construct(self, x: ms.Tensor) -> ms.Tensor:
        """Map ``(N, in_channels, H, W)`` to ``(N, channels, H/stride, W/stride)``."""
        y = x
        if self.expand_conv is not None:
            y = self.relu6(self.bn0(self.expand_conv(y)))
        y = self.relu6(self.bn1(self.depthwise_conv(y)))
        y = self.bn2(self.project_conv(y))
        return x + y if self.adds else y


class EfficientNetLite(nn.Cell):
    """The network; cells carry the names of the PyTorch port's weights, without underscores.

    Args:
        num_classes: outputs of the last layer.
        in_channels: channels of the input images.
        seed: of the initial weights.

    Raises:
        ConfigError: for a size below 1.
    """

    def __init__(self, *, num_classes: int = 1000, in_channels: int = 3, seed: int = 0) -> None:
        super().__init__()
        for name, size in (("num_classes", num_classes), ("in_channels", in_channels)):
            if size < 1:
                raise ConfigError(f"{name}: expected at least 1, got {size}")
        rng = np.random.default_rng(seed)
        self.conv_stem = _conv(rng, in_channels, _STEM, 3, 2)
        self.bn0 = _norm(_STEM)
        self.relu6 = nn.ReLU6()
        blocks, previous = [], _STEM
        for count, kernel, first_stride, expansion, channels in _STAGES:
            for position in range(count):
                stride = first_stride if position == 0 else 1
                blocks.append(MBConv(rng, previous, channels, kernel, stride, expansion))
                previous = channels
        self.blocks = nn.SequentialCell(blocks)
        self.conv_head = _conv(rng, previous, _HEAD, 1)
        self.bn1 = _norm(_HEAD)
        self.fc = dense(rng, _HEAD, num_classes)

    def construct(self, x: ms.Tensor) -> ms.Tensor:
        """Return logits ``(N, num_classes)`` of images ``(N, in_channels, H, W)``."""
        x = self.relu6(self.bn0(self.conv_stem(x)))
        x = self.relu6(self.bn1(self.conv_head(self.blocks(x))))
        return self.fc(x.mean((2, 3)))


def efficientnet_lite0(**args: Any) -> EfficientNetLite:
    """Return EfficientNet-Lite0 (4,652,008 parameters); arguments as `EfficientNetLite`'s."""
    return EfficientNetLite(**args)


def _conv(
    rng: np.random.Generator,
    in_channels: int,
    out_channels: int,
    kernel: int,
    stride: int = 1,
    group: int = 1,
) -> nn.Conv2d:
    shape = (out_channels, in_channels // group, kernel, kernel)
    weight = rng.standard_normal(shape, dtype=np.float32)
    weight *= math.sqrt(2.0 / (out_channels // group * kernel**2))
    return nn.Conv2d(
        in_channels, out_channels, kernel, stride, pad_mode="same", group=group, has_bias=False,
        weight_init=ms.Tensor(weight),
    )  # fmt: skip


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=1e-3, momentum=0.99)
