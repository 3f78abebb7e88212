"""ECO-Lite: a 2D network on each frame, then a residual 3D network on the clip (arXiv:1804.09066).

As modified by arXiv:2407.16514: the 2D network is the front of Inception-V3, under torchvision's
names, and the 3D network has three stages of two residual blocks. `eco_lite_small` is a sibling for
small frames on a CPU (ours).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import mindspore as ms
import numpy as np
from mindspore import nn

from ms_eff.errors import ConfigError
from ms_eff.models.clips import ClipMean, Unfold, check_sizes, fold, stage
from ms_eff.models.inception import InceptionFront
from ms_eff.models.initial import batch_norm, conv2d, dense

__all__ = ["EcoLite", "SmallFront", "eco_lite", "eco_lite_small"]


class SmallFront(nn.Cell):
    """Two 3x3 convolutions for frames of some 32 pixels; the second halves the map.

    Args:
        rng: source of the initial weights.
        in_channels: channels of the frames.
        width: of the first convolution; the second has twice as many.
    """

    def __init__(self, rng: np.random.Generator, in_channels: int, width: int) -> None:
        super().__init__()
        self.conv1 = conv2d(rng, in_channels, width, 3)
        self.bn1 = batch_norm(width)
        self.conv2 = conv2d(rng, width, 2 * width, 3, 2)
        self.bn2 = batch_norm(2 * width)
        self.relu = nn.ReLU()
        self.out_channels = 2 * width

    def construct(self, x: ms.Tensor) -> ms.Tensor:
        """Map (N, in_channels, H, W) to (N, 2 * width, H/2, W/2)."""
        x = self.relu(self.bn1(self.conv1(x)))
        return self.relu(self.bn2(self.conv2(x)))


class EcoLite(nn.Cell):
    """A 2D network, stages of 3D blocks, the mean over the clip, and a classifier.

    Args:
        front: `inception` or `small`.
        widths: channels of each stage; all but the first halve time and space.
        num_classes: outputs of the last layer.
        in_channels: channels of the frames.
        frames: T of a clip.
        image_size: side of the frames, or (height, width); for counts and exports only.
        front_weights: file of weights for the front (torchvision's `inception_v3`, or ours), or
            None for new ones. torchvision's want pixels of -1 to 1 (mean and std 0.5), which its
            own network makes of ImageNet's normalisation inside.
        seed: of the initial weights.

    Raises:
        ConfigError: for another front or a size below 1.
        CheckpointError: the file lacks weights of the front.
    """

    def __init__(
        self,
        front: str,
        widths: Sequence[int],
        *,
        num_classes: int = 101,
        in_channels: int = 3,
        frames: int = 16,
        image_size: int | tuple[int, int] = 243,
        front_weights: str | Path | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        check_sizes(num_classes=num_classes, in_channels=in_channels, frames=frames)
        check_sizes(**{f"widths[{at}]": width for at, width in enumerate(widths)})
        rng = np.random.default_rng(seed)
        side = (image_size, image_size) if isinstance(image_size, int) else tuple(image_size)
        self.input_shape = (1, frames, in_channels, *side)
        self.net2d: InceptionFront | SmallFront
        if front == "inception":
            self.net2d = InceptionFront(rng, in_channels)
            if front_weights is not None:
                self.net2d.load(front_weights)
        elif front == "small" and front_weights is None:
            self.net2d = SmallFront(rng, in_channels, max(widths[0] // 3, 4))
        else:
            raise ConfigError(
                f"front: expected 'inception' or 'small' (which takes no weights), got {front!r}"
            )
        self.unfold = Unfold(frames)
        previous, stages = self.net2d.out_channels, []
        for index, channels in enumerate(widths):
            stages.append(stage(rng, 2, previous, channels, 1 if index == 0 else 2))
            previous = channels
        self.net3d = nn.SequentialCell(stages)
        self.pool = ClipMean(-(-frames // 2 ** (len(widths) - 1)))
        self.fc = dense(rng, previous, num_classes)

    def construct(self, clips: ms.Tensor) -> ms.Tensor:
        """Return logits (B, num_classes) of clips (B, T, in_channels, H, W)."""
        x = self.unfold(self.net2d(fold(clips)))
        return self.fc(self.pool(self.net3d(x)))


def eco_lite(**args: Any) -> EcoLite:
    """Return the paper's network: 33.7 M parameters, 35.6 GMACs in the 3D network at 243 x 243.

    Arguments as `EcoLite`'s, without front and widths.
    """
    return EcoLite("inception", (128, 256, 512), **args)


def eco_lite_small(*, width: int = 24, **args: Any) -> EcoLite:
    """Return a small one for frames of 32 x 32.

    Args:
        width: channels of the first stage; doubled by each later one.
        **args: `num_classes`, `in_channels`, `frames`, `image_size` (32) and `seed` of `EcoLite`.
    """
    return EcoLite("small", (width, 2 * width, 4 * width), **{"image_size": 32, **args})
