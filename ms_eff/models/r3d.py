"""R3D-18: a plain residual network of 3x3x3 convolutions (arXiv:1711.11248).

Cells carry torchvision's names (``stem.0``, ``layer1.0.conv1.0``, ``fc``).
"""

from __future__ import annotations

from typing import Any

import mindspore as ms
import numpy as np
from mindspore import nn

from ms_eff.errors import ConfigError
from ms_eff.models.clips import ClipMean, Unfold, check_sizes, fold, stage
from ms_eff.models.initial import conv3d, dense

__all__ = ["ResNet3d", "r3d18"]


class ResNet3d(nn.Cell):
    """A residual network over clips, four stages of two-layer blocks.

    Args:
        layers: blocks in each of the four stages.
        num_classes: outputs of the last layer.
        in_channels: channels of the frames.
        frames: T of a clip.
        image_size: side of the frames, or (height, width); for counts and exports only.
        width: channels of the stem and of the first stage; doubled by each later stage.
        stem: ``imagenet`` (3x7x7, space strided by 2) or ``cifar`` (3x3x3).
        seed: of the initial weights.

    Raises:
        ConfigError: for another stem or a size below 1.
    """

    def __init__(
        self,
        layers: tuple[int, int, int, int] = (2, 2, 2, 2),
        *,
        num_classes: int = 400,
        in_channels: int = 3,
        frames: int = 16,
        image_size: int | tuple[int, int] = 112,
        width: int = 64,
        stem: str = "imagenet",
        seed: int = 0,
    ) -> None:
        super().__init__()
        check_sizes(num_classes=num_classes, in_channels=in_channels, frames=frames, width=width)
        if stem not in ("imagenet", "cifar"):
            raise ConfigError(f"stem: expected 'imagenet' or 'cifar', got {stem!r}")
        rng = np.random.default_rng(seed)
        side = (image_size, image_size) if isinstance(image_size, int) else tuple(image_size)
        self.input_shape = (1, frames, in_channels, *side)
        self.unfold = Unfold(frames)
        kernel, stride = ((3, 7, 7), (1, 2, 2)) if stem == "imagenet" else ((3, 3, 3), (1, 1, 1))
        self.stem = nn.SequentialCell(
            [conv3d(rng, in_channels, width, kernel, stride), nn.BatchNorm3d(width), nn.ReLU()]
        )
        previous = width
        stages = []
        for index, count in enumerate(layers):
            channels = width * 2**index
            stages.append(stage(rng, count, previous, channels, 1 if index == 0 else 2))
            previous = channels
        self.layer1, self.layer2, self.layer3, self.layer4 = stages
        self.pool = ClipMean(-(-frames // 8))
        self.fc = dense(rng, previous, num_classes)

    def construct(self, clips: ms.Tensor) -> ms.Tensor:
        """Return logits (B, num_classes) of clips (B, T, in_channels, H, W)."""
        x = self.stem(self.unfold(fold(clips)))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.fc(self.pool(x))


def r3d18(**args: Any) -> ResNet3d:
    """Return R3D-18 (33,371,472 parameters at 400 classes); arguments as `ResNet3d`'s."""
    return ResNet3d((2, 2, 2, 2), **args)
