"""What stands for a 3D convolution, in numbers: weights, work, kernels; imports no MindSpore.

Letters as in the paper (arXiv:2407.16514): C channels in, S out, d the kernel's side, s the stride.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "ALIGNABLE",
    "VARIANTS",
    "ConvShape",
    "as_kernel",
    "fit_branches",
    "fit_shift",
    "macs",
    "middle_channels",
    "shift_channels",
    "weights",
]

VARIANTS = (
    *("conv3d", "add", "cat", "r2plus1d", "p3d_a", "p3d_b", "p3d_c", "rank1", "tsm"),
    "spatial",  # ours: each frame for itself, the control that must not solve a motion task
)
# those whose temporal branch strides flattened pixels, unless they are aligned
ALIGNABLE = ("add", "cat")

Triple = tuple[int, int, int]
Pair = tuple[int, int]
Kernel = NDArray[np.floating]

# share of the channels that TSM takes from the frame before, and from the one after
_SHIFTED = 8


@dataclass(frozen=True)
class ConvShape:
    """A 3D convolution; axes in the order time, height, width.

    Attributes:
        in_channels: C.
        out_channels: S.
        kernel: odd lengths.
        stride: likewise.
        padding: of height and width; time is always padded by half its kernel.
    """

    in_channels: int
    out_channels: int
    kernel: Triple = (3, 3, 3)
    stride: Triple = (1, 1, 1)
    padding: Pair = (1, 1)

    @property
    def area(self) -> Pair:
        """(height, width) of the kernel."""
        return self.kernel[1:]

    @property
    def down(self) -> Pair:
        """Strides of height and width."""
        return self.stride[1:]

    @property
    def spatial_only(self) -> bool:
        """Whether it looks at one frame at a time: (1, d, d)."""
        return self.kernel[0] == 1

    @property
    def temporal_only(self) -> bool:
        """Whether it looks at one pixel at a time: (d, 1, 1), d > 1."""
        return self.kernel[0] > 1 and self.area == (1, 1)

    def output(self, size: Triple) -> Triple:
        """Return (T, H, W) of the output.

        >>> ConvShape(8, 8, stride=(2, 2, 2)).output((16, 28, 28))
        (8, 14, 14)
        """
        pads = (self.kernel[0] // 2, *self.padding)
        axes = zip(size, self.kernel, self.stride, pads, strict=True)
        frames, height, width = ((n + 2 * p - k) // s + 1 for n, k, s, p in axes)
        return frames, height, width


def middle_channels(in_channels: int, out_channels: int, kernel: Triple = (3, 3, 3)) -> int:
    """Return R(2+1)D's channels between the two convolutions (arXiv:1711.11248, section 3.5).

    As many as leave the number of weights as it was: floor(d_t d^2 C S / (d^2 C + d_t S)).

    >>> middle_channels(128, 256)
    460
    """
    frames, area = kernel[0], kernel[1] * kernel[2]
    pair = in_channels * out_channels
    return frames * area * pair // (area * in_channels + frames * out_channels)


def weights(variant: str, shape: ConvShape) -> int:
    """Return the weights of what stands for one convolution; norms and biases not counted.

    >>> strided = ConvShape(128, 256, stride=(2, 2, 2))
    >>> weights("conv3d", strided), weights("add", strided)
    (884736, 458752)
    """
    return sum(part[0] for part in _parts(variant, shape, (1, 1, 1), False))


def macs(variant: str, shape: ConvShape, size: Triple, aligned: bool = False) -> int:
    """Return the multiply-accumulates of what stands for one convolution, for one clip.

    Args:
        variant: one of `VARIANTS`.
        shape: of the 3D convolution.
        size: (T, H, W) of the input.
        aligned: as in `SpatiotemporalSettings`.

    >>> macs("conv3d", ConvShape(96, 128), (16, 28, 28))
    4161798144
    """
    return sum(count * places for count, places in _parts(variant, shape, size, aligned))


def _parts(variant: str, shape: ConvShape, size: Triple, aligned: bool) -> list[tuple[int, int]]:
    """Return (weights, output places) of each convolution of a variant."""
    C, S = shape.in_channels, shape.out_channels
    (d, high, wide), step = shape.kernel, shape.stride[0]
    frames, rows, columns = shape.output(size)
    place = rows * columns
    every, kept = size[0] * place, frames * place
    if variant == "cat" and (shape.spatial_only or shape.temporal_only):
        S = 2 * S  # one branch in the place of two
    if variant == "conv3d" or (shape.temporal_only and variant != "spatial"):
        return [(d * high * wide * C * S, kept)]
    flat = high * wide * C * S
    if variant in ("add", "cat"):
        spatial = [(flat, kept if aligned else every)]
        spatial += [(S * S, kept)] if step > 1 else []
        return spatial if shape.spatial_only else [*spatial, (d * C * S, kept)]
    if shape.spatial_only or variant in ("tsm", "spatial", "p3d_b"):
        temporal = [(d * C * S, kept)] if variant == "p3d_b" and not shape.spatial_only else []
        return [(flat, kept), *temporal]
    if variant == "r2plus1d":
        middle = middle_channels(C, S, shape.kernel)
        return [(high * wide * C * middle, every), (d * middle * S, kept)]
    if variant == "rank1":
        half = size[0] * rows * size[2]  # height has been strided, width not yet
        return [(high * C * S, half), (wide * S * S, every), (d * S * S, kept)]
    return [(flat, every), (d * S * S, kept)]  # p3d_a, p3d_c


def as_kernel(spatial: Kernel, temporal: Kernel) -> Kernel:
    """Return the 3D kernel that the sum of both branches amounts to (the paper's add, s = 1).

    Args:
        spatial: (S, C, d, d), put into the central frame.
        temporal: (S, C, d), put into the central column.

    Returns:
        (S, C, d, d, d).

    >>> as_kernel(np.ones((1, 1, 3, 3)), np.ones((1, 1, 3)))[0, 0, :, 1, 1].tolist()
    [1.0, 2.0, 1.0]
    """
    frames, (height, width) = temporal.shape[2], spatial.shape[2:]
    kernel = np.zeros((*spatial.shape[:2], frames, height, width), spatial.dtype)
    kernel[:, :, frames // 2] += spatial
    kernel[:, :, :, height // 2, width // 2] += temporal
    return kernel


def fit_branches(kernel: Kernel) -> tuple[Kernel, Kernel, float]:
    """Return the two branches nearest to a 3D kernel (least squares) and what is lost; ours.

    `as_kernel` only places values, so the nearest kernel copies the central frame and the central
    column and drops the rest. What both share, the central value, is halved: of all pairs that
    give this sum it has the smallest norm.

    Args:
        kernel: (S, C, d, d, d), odd sides.

    Returns:
        spatial (S, C, d, d), temporal (S, C, d), relative error in the Frobenius norm.

    >>> spatial, temporal, error = fit_branches(np.ones((1, 1, 3, 3, 3)))
    >>> round(error**2, 3), float(spatial[0, 0, 1, 1])
    (0.593, 0.5)
    """
    frames, height, width = kernel.shape[2:]
    spatial = kernel[:, :, frames // 2].copy()
    temporal = kernel[:, :, :, height // 2, width // 2].copy()
    spatial[:, :, height // 2, width // 2] /= 2
    temporal[:, :, frames // 2] /= 2
    return spatial, temporal, _lost(kernel, as_kernel(spatial, temporal))


def shift_channels(channels: int) -> int:
    """Return how many channels TSM takes from either neighbour: an eighth (arXiv:1811.08383).

    >>> shift_channels(128), shift_channels(3)
    (16, 1)
    """
    return max(channels // _SHIFTED, 1) if channels > 2 else 0


def fit_shift(kernel: Kernel, shifted: int) -> tuple[Kernel, float]:
    """Return the 2D kernel that, behind a channel shift, is nearest to a 3D one; ours.

    A channel that is read one frame later meets one slice of the kernel only, so that slice is the
    least-squares answer.

    Args:
        kernel: (S, C, d, d, d).
        shifted: the first so many channels come from the frame after, as many from the one before;
            0: none.

    Returns:
        (S, C, d, d) and the relative error in the Frobenius norm.
    """
    now = kernel.shape[2] // 2
    at = np.full(kernel.shape[1], now)
    at[:shifted], at[shifted : 2 * shifted] = now + 1, now - 1
    channels = np.arange(kernel.shape[1])
    nearest = np.zeros_like(kernel)
    nearest[:, channels, at] = kernel[:, channels, at]
    return kernel[:, channels, at], _lost(kernel, nearest)


def _lost(kernel: Kernel, found: Kernel) -> float:
    norm = float(np.linalg.norm(kernel))
    return float(np.linalg.norm(kernel - found)) / norm if norm else 0.0
