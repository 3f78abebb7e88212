"""What stands for a 3D convolution: 2D ones on clips whose frames lie in the batch axis.

All cells map (B * T, C, H, W) to (B * T', S, H', W'), frames of a clip one after the other, and
make no tensor of rank 5 (arXiv:2407.16514, in NCHW).
"""

from __future__ import annotations

from abc import abstractmethod

import mindspore as ms
import numpy as np
from mindspore import nn, ops

from ms_eff.methods.spatiotemporal.core import ConvShape
from ms_eff.methods.spatiotemporal.units import Grid, Temporal, Unit, every, shift

__all__ = [
    "ClipConv",
    "FiveD",
    "OneFrame",
    "OnePixel",
    "Parallel",
    "RankOne",
    "Serial",
    "TwoBranch",
]


class ClipConv(nn.Cell):
    """Base of the cells below.

    Attributes:
        input_rank: axes of the input, one fewer than those of the convolution it stands for.
        frames: T of the input; set where the cell is put into a network of folded clips.
    """

    input_rank = 4

    def __init__(self) -> None:
        super().__init__()
        self.frames = 0

    def construct(self, x: ms.Tensor) -> ms.Tensor:
        """Map (B * T, C, H, W) to (B * T', S, H', W')."""
        return self.run(x, self.frames)

    @abstractmethod
    def run(self, x: ms.Tensor, frames: int) -> ms.Tensor:
        """Do the same for clips of so many frames."""


class TwoBranch(ClipConv):
    """Space and time side by side, one normalisation a branch, then sum or concatenation.

    The paper's block: where time is strided, the spatial branch goes through a 1x1 convolution
    S -> S that reads every s-th frame. A kernel (1, d, d) has the spatial branch only.

    Args:
        rng: source of the initial weights.
        shape: of the 3D convolution.
        norm: see `Unit`.
        bias: whether the spatial convolution has one.
        join: `add` (S channels) or `cat` (2 S).
        aligned: read the stride's grid in the temporal branch, and compute in the spatial one only
            the frames that are read.

    Attributes:
        portable: compute all frames, as the paper does, and then drop those that are not read; set
            by exports. MindSpore Lite 2.0.0 converts the other order, and then cannot run it.
    """

    def __init__(
        self,
        rng: np.random.Generator,
        shape: ConvShape,
        norm: nn.Cell | None,
        bias: bool,
        join: str,
        aligned: bool,
    ) -> None:
        super().__init__()
        kernel, self.step = shape.kernel[0], shape.stride[0]
        self.aligned, self.portable = aligned, False
        self.joins = join == "cat"
        C, S = shape.in_channels, shape.out_channels
        last = None if self.step > 1 else norm
        self.spatial = Unit(rng, (C, S), shape.area, shape.down, shape.padding, last, bias)
        self.mix = Unit(rng, (S, S), (1, 1), norm=norm) if self.step > 1 else None
        self.grid = Grid(shape.down if aligned else (1, 1))
        self.temporal: nn.Cell | None = None
        if not shape.spatial_only:
            flat = (1, 1) if aligned else shape.down
            self.temporal = Temporal(rng, (C, S), kernel, self.step, flat, norm)

    def run(self, x: ms.Tensor, frames: int) -> ms.Tensor:
        """Return the branches' sum, or both."""
        if self.mix is None:
            y = self.spatial(x)
        elif self.aligned and not self.portable:
            y = self.mix(self.spatial(every(x, frames, self.step)))
        else:
            y = self.mix(every(self.spatial(x), frames, self.step))
        if self.temporal is None:
            return y
        z = self.temporal(self.grid(x), frames)
        return ops.concat((y, z), 1) if self.joins else y + z


class OneFrame(ClipConv):
    """A 2D convolution on every s-th frame; with TSM's shift, frames exchange channels before.

    A kernel (1, d, d) exactly; and TSM (arXiv:1811.08383).

    Args:
        rng: source of the initial weights.
        shape: of the 3D convolution.
        norm: see `Unit`.
        bias: whether the convolution has one.
        shifted: channels read from the frame after, and as many from the one before.
    """

    def __init__(
        self,
        rng: np.random.Generator,
        shape: ConvShape,
        norm: nn.Cell | None,
        bias: bool,
        shifted: int = 0,
    ) -> None:
        super().__init__()
        self.step = shape.stride[0]
        self.shifted = shifted
        channels = (shape.in_channels, shape.out_channels)
        self.spatial = Unit(rng, channels, shape.area, shape.down, shape.padding, norm, bias)

    def run(self, x: ms.Tensor, frames: int) -> ms.Tensor:
        """Shift channels between frames if there are any, then convolve each frame."""
        if self.shifted and frames > 1:
            x = shift(x, frames, self.shifted)
        return self.spatial(every(x, frames, self.step))


class OnePixel(ClipConv):
    """A (d, 1) convolution on every s-th pixel: a kernel (d, 1, 1) exactly.

    Args:
        rng: source of the initial weights.
        shape: of the 3D convolution.
        norm: see `Unit`.
        bias: whether the convolution has one.
    """

    def __init__(
        self, rng: np.random.Generator, shape: ConvShape, norm: nn.Cell | None, bias: bool
    ) -> None:
        super().__init__()
        self.grid = Grid(shape.down)
        channels = (shape.in_channels, shape.out_channels)
        self.temporal = Temporal(
            rng, channels, shape.kernel[0], shape.stride[0], norm=norm, bias=bias
        )

    def run(self, x: ms.Tensor, frames: int) -> ms.Tensor:
        """Convolve over the frames of each pixel."""
        return self.temporal(self.grid(x), frames)


class Serial(ClipConv):
    """Space, ReLU, then time.

    R(2+1)D (arXiv:1711.11248) and P3D-A (arXiv:1711.10305) differ in the channels between; P3D-C
    adds what the spatial convolution gave.

    Args:
        rng: source of the initial weights.
        shape: of the 3D convolution.
        norm: see `Unit`.
        bias: whether the temporal convolution has one.
        middle: channels between the two.
        skips: whether the temporal convolution is passed by.
    """

    def __init__(
        self,
        rng: np.random.Generator,
        shape: ConvShape,
        norm: nn.Cell | None,
        bias: bool,
        middle: int,
        skips: bool = False,
    ) -> None:
        super().__init__()
        kernel, self.step = shape.kernel[0], shape.stride[0]
        self.skips = skips
        self.spatial = Unit(
            rng, (shape.in_channels, middle), shape.area, shape.down, shape.padding, norm
        )
        self.relu = nn.ReLU()
        channels = (middle, shape.out_channels)
        self.temporal = Temporal(rng, channels, kernel, self.step, norm=norm, bias=bias)

    def run(self, x: ms.Tensor, frames: int) -> ms.Tensor:
        """Convolve each frame, then each pixel."""
        x = self.relu(self.spatial(x))
        y = self.temporal(x, frames)
        return every(x, frames, self.step) + y if self.skips else y


class Parallel(ClipConv):
    """P3D-B: (1, d, d) and (d, 1, 1) side by side, a ReLU each, summed (arXiv:1711.10305).

    Args:
        rng: source of the initial weights.
        shape: of the 3D convolution.
        norm: see `Unit`.
        bias: whether the spatial convolution has one.
    """

    def __init__(
        self, rng: np.random.Generator, shape: ConvShape, norm: nn.Cell | None, bias: bool
    ) -> None:
        super().__init__()
        self.spatial = OneFrame(rng, shape, norm, bias)
        self.temporal = OnePixel(rng, shape, norm, False)
        self.relu = nn.ReLU()

    def run(self, x: ms.Tensor, frames: int) -> ms.Tensor:
        """Return the sum of both."""
        return self.relu(self.spatial.run(x, frames)) + self.relu(self.temporal.run(x, frames))


class RankOne(ClipConv):
    """Height, width, then time, one dimension each, nothing between but the normalisations.

    Args:
        rng: source of the initial weights.
        shape: of the 3D convolution.
        norm: see `Unit`.
        bias: whether the temporal convolution has one.
    """

    def __init__(
        self, rng: np.random.Generator, shape: ConvShape, norm: nn.Cell | None, bias: bool
    ) -> None:
        super().__init__()
        (kernel, high, wide), (step, down, right) = shape.kernel, shape.stride
        S = shape.out_channels
        pads = shape.padding
        self.height = Unit(rng, (shape.in_channels, S), (high, 1), (down, 1), (pads[0], 0), norm)
        self.width = Unit(rng, (S, S), (1, wide), (1, right), (0, pads[1]), norm)
        self.temporal = Temporal(rng, (S, S), kernel, step, norm=norm, bias=bias)

    def run(self, x: ms.Tensor, frames: int) -> ms.Tensor:
        """Convolve along each axis in turn."""
        return self.temporal(self.width(self.height(x)), frames)


class FiveD(nn.Cell):
    """A cell for folded clips in a network that holds 5D tensors: (B, C, T, H, W) in and out."""

    def __init__(self, inner: ClipConv) -> None:
        super().__init__()
        self.inner = inner

    def construct(self, x: ms.Tensor) -> ms.Tensor:
        """Fold, run, unfold."""
        batch, channels, frames, height, width = x.shape
        y = ops.reshape(
            ops.transpose(x, (0, 2, 1, 3, 4)), (batch * frames, channels, height, width)
        )
        y = self.inner.run(y, frames)
        y = ops.reshape(y, (batch, y.shape[0] // batch, y.shape[1], y.shape[2], y.shape[3]))
        return ops.transpose(y, (0, 2, 1, 3, 4))
