"""What the cells that stand for a 3D convolution are made of: 2D convolutions on folded clips.

Maps are (B * T, C, H, W), the frames of a clip one after the other.
"""

from __future__ import annotations

import math

import mindspore as ms
import numpy as np
from mindspore import nn, ops

from ms_eff.methods.spatiotemporal.core import Pair

__all__ = ["Grid", "Temporal", "Unit", "every", "shift"]


class Unit(nn.Cell):
    """A convolution, and a batch normalisation if there is to be one.

    Args:
        rng: source of the initial weights, He-normal over fan-out.
        channels: of input and output.
        kernel: (height, width).
        stride: likewise.
        padding: likewise, on both sides.
        norm: a normalisation whose constants to take, or None for none.
        bias: whether the convolution has one.

    Attributes:
        portable: pad first, in a step of its own; set by exports.
    """

    def __init__(
        self,
        rng: np.random.Generator,
        channels: Pair,
        kernel: Pair,
        stride: Pair = (1, 1),
        padding: Pair = (0, 0),
        norm: nn.Cell | None = None,
        bias: bool = False,
    ) -> None:
        super().__init__()
        shape = (channels[1], channels[0], *kernel)
        weight = rng.standard_normal(shape, dtype=np.float32)
        weight *= math.sqrt(2.0 / (channels[1] * kernel[0] * kernel[1]))
        self.conv = nn.Conv2d(
            *channels,
            kernel,
            stride,
            pad_mode="pad",
            padding=(padding[0], padding[0], padding[1], padding[1]),
            has_bias=bias,
            weight_init=ms.Tensor(weight),
            bias_init="zeros" if bias else None,
        )
        self.portable = False
        # what MindSpore 2.9's ONNX exporter takes: padding that differs between height and width,
        # as an attribute, comes out with its numbers in another order
        self.pad: nn.Cell | None = None
        if padding[0] != padding[1]:
            self.pad = nn.Pad(((0, 0), (0, 0), (padding[0],) * 2, (padding[1],) * 2))
            self.valid = ops.Conv2D(channels[1], kernel, pad_mode="valid", stride=stride)
        self.norm: nn.Cell | None = None
        if norm is not None:
            # MindSpore's cells keep the share that is replaced and are given the one that is kept
            self.norm = nn.BatchNorm2d(channels[1], eps=norm.eps, momentum=1.0 - norm.momentum)

    def construct(self, x: ms.Tensor) -> ms.Tensor:
        """Map (N, C, H, W) to (N, S, H', W')."""
        if self.portable and self.pad is not None:
            x = self.valid(self.pad(x), self.conv.weight)
            if self.conv.has_bias:
                x = ops.bias_add(x, self.conv.bias)
        else:
            x = self.conv(x)
        return x if self.norm is None else self.norm(x)


class Temporal(nn.Cell):
    """A (d, 1) convolution over the frames of each pixel, on (B, C, T, H * W).

    Args:
        rng: source of the initial weights.
        channels: of input and output.
        kernel: d.
        stride: of time.
        flat_stride: of the flattened pixels: s^2 is the paper's way to a strided map. Of a map
            28 wide, s = 2 reads every fourth column of every row, as a map 14 wide; `aligned`
            cells take the grid's pixels before, with 1 here.
        norm: see `Unit`.
        bias: likewise.
    """

    def __init__(
        self,
        rng: np.random.Generator,
        channels: Pair,
        kernel: int,
        stride: int = 1,
        flat_stride: Pair = (1, 1),
        norm: nn.Cell | None = None,
        bias: bool = False,
    ) -> None:
        super().__init__()
        self.down, self.right = flat_stride
        along = (stride, self.down * self.right)
        self.unit = Unit(rng, channels, (kernel, 1), along, (kernel // 2, 0), norm, bias)

    def construct(self, x: ms.Tensor, frames: int) -> ms.Tensor:
        """Map (B * T, C, H, W) to (B * T', S, H', W')."""
        _, channels, height, width = x.shape
        if height % self.down or width % self.right:
            raise ValueError(
                "spatiotemporal: a stride over flattened pixels needs maps that it divides; "
                "use aligned=True, or another size of the frames"
            )
        y = ops.reshape(x, (-1, frames, channels, height * width))
        y = self.unit(ops.transpose(y, (0, 2, 1, 3)))
        size = (-1, y.shape[1], height // self.down, width // self.right)
        return ops.reshape(ops.transpose(y, (0, 2, 1, 3)), size)


class Grid(nn.Cell):
    """The pixels that a strided convolution's windows are centred on.

    A pool of one pixel, whose gradient is there on every device.

    Args:
        stride: of height and width.
    """

    def __init__(self, stride: Pair) -> None:
        super().__init__()
        self.pool = None if stride == (1, 1) else nn.MaxPool2d(1, stride, pad_mode="valid")

    def construct(self, x: ms.Tensor) -> ms.Tensor:
        """Map (N, C, H, W) to (N, C, H/s, W/s)."""
        return x if self.pool is None else self.pool(x)


def every(x: ms.Tensor, frames: int, step: int) -> ms.Tensor:
    """Return every `step`-th frame of each clip: (B * T, C, H, W) to (B * T', C, H, W)."""
    if step == 1:
        return x
    _, channels, height, width = x.shape
    y = ops.reshape(x, (-1, frames, channels, height * width))
    # by gathering: MindSpore 2.9 has no gradient on a CPU for some slices with steps
    y = ops.gather(y, ms.Tensor(tuple(range(0, frames, step)), ms.int32), 1)
    return ops.reshape(y, (-1, channels, height, width))


def shift(x: ms.Tensor, frames: int, shifted: int) -> ms.Tensor:
    """Return clips whose first channels come a frame late, the next ones a frame early."""
    _, channels, height, width = x.shape
    y = ops.reshape(x, (-1, frames, channels, height * width))
    after, before = y[:, 1:, :shifted], y[:, :-1, shifted : 2 * shifted]
    zero = y[:, :1, :shifted] * 0.0  # of the batch's size, which an export may leave open
    after, before = ops.concat((after, zero), 1), ops.concat((zero, before), 1)
    y = ops.concat((after, before, y[:, :, 2 * shifted :]), 2)
    return ops.reshape(y, (-1, channels, height, width))
