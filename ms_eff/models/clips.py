"""What networks for clips share: how frames are laid out, and residual blocks of 3D convolutions.

Clips come as (B, T, C, H, W), or with their frames folded into the batch axis already. They are
reshaped once to (B * T, C, H, W). 3D convolutions want (B, C, T, H, W) behind it; a method that
replaces them by 2D ones (`ms_eff.methods.spatiotemporal`) lets the cells here keep frames folded.
"""

from __future__ import annotations

import mindspore as ms
import numpy as np
from mindspore import nn, ops

from ms_eff.errors import ConfigError
from ms_eff.models.initial import conv3d

__all__ = ["Block3d", "ClipLayout", "ClipMean", "Unfold", "check_sizes", "fold", "stage"]


class ClipLayout(nn.Cell):
    """Base of cells that know both layouts.

    Attributes:
        folded: whether frames stay in the batch axis.
    """

    def __init__(self, frames: int) -> None:
        super().__init__()
        self.frames = frames
        self.folded = False


class Unfold(ClipLayout):
    """(B * T, C, H, W) to (B, C, T, H, W), or nothing at all where frames stay folded.

    Args:
        frames: T.
    """

    def construct(self, x: ms.Tensor) -> ms.Tensor:
        """Return the clips in the layout of what follows."""
        if self.folded:
            return x
        _, channels, height, width = x.shape
        x = ops.reshape(x, (-1, self.frames, channels, height, width))
        return ops.transpose(x, (0, 2, 1, 3, 4))


class ClipMean(ClipLayout):
    """Mean over time and space, (B, C), of either layout.

    Args:
        frames: T here, behind all strides.
    """

    def construct(self, x: ms.Tensor) -> ms.Tensor:
        """Return (B, C)."""
        if self.folded:
            x = x.mean((2, 3))
            return ops.reshape(x, (-1, self.frames, x.shape[1])).mean(1)
        return x.mean((2, 3, 4))


class Block3d(nn.Cell):
    """Two 3x3x3 convolutions and the shortcut, a projection where the shape changes.

    Named as torchvision's, each convolution in a sequence with its norm.

    Args:
        rng: source of the initial weights.
        in_channels: of the input.
        channels: of the output.
        stride: of the first convolution and of the shortcut, in time and space alike.
    """

    def __init__(
        self, rng: np.random.Generator, in_channels: int, channels: int, stride: int = 1
    ) -> None:
        super().__init__()
        strides = (stride, stride, stride)
        self.conv1 = nn.SequentialCell(
            [
                conv3d(rng, in_channels, channels, (3, 3, 3), strides),
                nn.BatchNorm3d(channels),
                nn.ReLU(),
            ]
        )
        self.conv2 = nn.SequentialCell(
            [conv3d(rng, channels, channels, (3, 3, 3)), nn.BatchNorm3d(channels)]
        )
        self.relu = nn.ReLU()
        self.downsample: nn.Cell | None = None
        if stride != 1 or in_channels != channels:
            self.downsample = nn.SequentialCell(
                [
                    conv3d(rng, in_channels, channels, (1, 1, 1), strides),
                    nn.BatchNorm3d(channels),
                ]
            )

    def construct(self, x: ms.Tensor) -> ms.Tensor:
        """Map (B, in_channels, T, H, W) to (B, channels, T/stride, H/stride, W/stride)."""
        y = self.conv2(self.conv1(x))
        if self.downsample is not None:
            x = self.downsample(x)
        return self.relu(x + y)


def stage(
    rng: np.random.Generator, blocks: int, in_channels: int, channels: int, stride: int
) -> nn.SequentialCell:
    """Return residual blocks, the first of which has the stride."""
    made = [Block3d(rng, in_channels, channels, stride)]
    made += [Block3d(rng, channels, channels) for _ in range(blocks - 1)]
    return nn.SequentialCell(made)


def fold(clips: ms.Tensor) -> ms.Tensor:
    """Return (B * T, C, H, W) of clips (B, T, C, H, W), or of such as are folded already."""
    return clips if clips.ndim == 4 else ops.reshape(clips, (-1, *clips.shape[2:]))


def check_sizes(**sizes: int) -> None:
    """Raise ConfigError, with its name, for a size below 1."""
    for name, size in sizes.items():
        if size < 1:
            raise ConfigError(f"{name}: expected at least 1, got {size}")
