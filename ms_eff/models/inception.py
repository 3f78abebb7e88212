"""The front of Inception-V3, up to 35 x 35 maps at 299 pixels (arXiv:1512.00567).

Cells carry torchvision's names; of the last block there is only the branch that ECO keeps.
"""

from __future__ import annotations

from pathlib import Path

import mindspore as ms
import numpy as np
from mindspore import nn, ops

from ms_eff.errors import CheckpointError
from ms_eff.models.initial import conv2d
from ms_eff.models.weights import load_weights

__all__ = ["InceptionA", "InceptionFront"]

_EPS = 1e-3  # of all its normalisations


class _Conv(nn.Cell):
    """Convolution, normalisation, ReLU."""

    def __init__(
        self,
        rng: np.random.Generator,
        in_channels: int,
        channels: int,
        kernel: int,
        stride: int = 1,
        padded: bool = True,
    ) -> None:
        super().__init__()
        self.conv = conv2d(rng, in_channels, channels, kernel, stride, padded)
        self.bn = nn.BatchNorm2d(channels, eps=_EPS)
        self.relu = nn.ReLU()

    def construct(self, x: ms.Tensor) -> ms.Tensor:
        return self.relu(self.bn(self.conv(x)))


class _PaddedAveragePool(nn.Cell):
    """3x3 average pool, stride 1, zeros around that count: the same numbers in two forms.

    MindSpore's own padded pool is a 3D one: its tensors of rank 5 are what an Ascend 310 is to be
    spared, and the ONNX exporter lacks it. Training takes it, inference pads and pools in 4D.
    """

    def __init__(self) -> None:
        super().__init__()
        self.padded = nn.AvgPool2d(3, 1, pad_mode="pad", padding=1, count_include_pad=True)
        self.pad = ops.Pad(((0, 0), (0, 0), (1, 1), (1, 1)))
        self.pool = nn.AvgPool2d(3, 1, pad_mode="valid")

    def construct(self, x: ms.Tensor) -> ms.Tensor:
        if self.training:
            return self.padded(x)
        return self.pool(self.pad(x))


class InceptionA(nn.Cell):
    """Four branches side by side: 1x1, 5x5, double 3x3, pooled.

    Args:
        rng: source of the initial weights.
        in_channels: of the input.
        pool_channels: of the pooled branch; the output has 224 more.
    """

    def __init__(self, rng: np.random.Generator, in_channels: int, pool_channels: int) -> None:
        super().__init__()
        self.branch1x1 = _Conv(rng, in_channels, 64, 1)
        self.branch5x5_1 = _Conv(rng, in_channels, 48, 1)
        self.branch5x5_2 = _Conv(rng, 48, 64, 5)
        self.branch3x3dbl_1 = _Conv(rng, in_channels, 64, 1)
        self.branch3x3dbl_2 = _Conv(rng, 64, 96, 3)
        self.branch3x3dbl_3 = _Conv(rng, 96, 96, 3)
        self.pool = _PaddedAveragePool()
        self.branch_pool = _Conv(rng, in_channels, pool_channels, 1)

    def construct(self, x: ms.Tensor) -> ms.Tensor:
        """Map (N, in_channels, H, W) to (N, 224 + pool_channels, H, W)."""
        five = self.branch5x5_2(self.branch5x5_1(x))
        three = self.branch3x3dbl_3(self.branch3x3dbl_2(self.branch3x3dbl_1(x)))
        return ops.concat((self.branch1x1(x), five, three, self.branch_pool(self.pool(x))), 1)


class _DoubleThree(nn.Cell):
    """The double 3x3 branch alone."""

    def __init__(self, rng: np.random.Generator, in_channels: int) -> None:
        super().__init__()
        self.branch3x3dbl_1 = _Conv(rng, in_channels, 64, 1)
        self.branch3x3dbl_2 = _Conv(rng, 64, 96, 3)
        self.branch3x3dbl_3 = _Conv(rng, 96, 96, 3)

    def construct(self, x: ms.Tensor) -> ms.Tensor:
        return self.branch3x3dbl_3(self.branch3x3dbl_2(self.branch3x3dbl_1(x)))


class InceptionFront(nn.Cell):
    """Frames to maps of 96 channels, an eighth as large: 243 pixels give 28.

    Args:
        rng: source of the initial weights.
        in_channels: channels of the frames.
    """

    out_channels = 96

    def __init__(self, rng: np.random.Generator, in_channels: int = 3) -> None:
        super().__init__()
        self.Conv2d_1a_3x3 = _Conv(rng, in_channels, 32, 3, 2, padded=False)
        self.Conv2d_2a_3x3 = _Conv(rng, 32, 32, 3, padded=False)
        self.Conv2d_2b_3x3 = _Conv(rng, 32, 64, 3)
        self.maxpool1 = nn.MaxPool2d(3, 2, pad_mode="valid")
        self.Conv2d_3b_1x1 = _Conv(rng, 64, 80, 1)
        self.Conv2d_4a_3x3 = _Conv(rng, 80, 192, 3, padded=False)
        self.maxpool2 = nn.MaxPool2d(3, 2, pad_mode="valid")
        self.Mixed_5b = InceptionA(rng, 192, 32)
        self.Mixed_5c = InceptionA(rng, 256, 64)
        self.Mixed_5d = _DoubleThree(rng, 288)

    def construct(self, x: ms.Tensor) -> ms.Tensor:
        """Map (N, in_channels, H, W) to (N, 96, H', W')."""
        x = self.Conv2d_2b_3x3(self.Conv2d_2a_3x3(self.Conv2d_1a_3x3(x)))
        x = self.Conv2d_3b_1x1(self.maxpool1(x))
        x = self.maxpool2(self.Conv2d_4a_3x3(x))
        return self.Mixed_5d(self.Mixed_5c(self.Mixed_5b(x)))

    def load(self, path: str | Path) -> list[str]:
        """Load the front's weights from a file that may hold all of Inception-V3; return notes.

        Raises:
            CheckpointError: a weight of the front is missing, or the file is damaged.
        """
        before = {name: p.asnumpy().copy() for name, p in self.parameters_and_names()}
        notes = load_weights(self, path, strict=False)
        lacking = [
            note for note in notes if note.endswith("is missing") or "expected shape" in note
        ]
        if lacking:
            for name, parameter in self.parameters_and_names():
                parameter.set_data(ms.Tensor(before[name]))
            reason = lacking[0].removeprefix("left out: ")
            raise CheckpointError(
                f"{path}: not weights of Inception-V3's front: {reason}; give torchvision's "
                "inception_v3 file"
            )
        return [note for note in notes if not note.startswith("left out")]
