"""Which cell stands for a 3D convolution in each variant."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from mindspore import nn

from ms_eff.methods.spatiotemporal.cells import (
    ClipConv,
    OneFrame,
    OnePixel,
    Parallel,
    RankOne,
    Serial,
    TwoBranch,
)
from ms_eff.methods.spatiotemporal.core import ConvShape, middle_channels, shift_channels

__all__ = ["build"]


def build(
    variant: str,
    shape: ConvShape,
    rng: np.random.Generator,
    norm: nn.Cell | None = None,
    bias: bool = False,
    aligned: bool = False,
) -> ClipConv:
    """Return what stands for a 3D convolution, with new weights.

    Args:
        variant: one of `core.VARIANTS` but `conv3d`. Kernels (1, d, d) and (d, 1, 1) become the
            same 2D convolution in every variant, twice as wide in `cat`; but `add` and `cat` stride
            the former's time by a 1x1 convolution, as the paper does, and `spatial` reads one frame
            of the latter.
        shape: of the 3D convolution.
        rng: source of the initial weights.
        norm: the batch normalisation behind it, whose constants the new ones take, or None.
        bias: whether it has one.
        aligned: see `SpatiotemporalSettings`.
    """
    if variant == "cat" and (shape.spatial_only or shape.temporal_only):
        shape = replace(shape, out_channels=2 * shape.out_channels)
    rest = (rng, shape, norm, bias)
    if shape.temporal_only and variant != "spatial":
        return OnePixel(*rest)
    if variant in ("add", "cat"):
        return TwoBranch(*rest, variant, aligned)
    if shape.spatial_only or variant == "spatial":
        return OneFrame(*rest)
    S = shape.out_channels
    if variant == "r2plus1d":
        return Serial(*rest, middle_channels(shape.in_channels, S, shape.kernel))
    if variant in ("p3d_a", "p3d_c"):
        return Serial(*rest, S, skips=variant == "p3d_c")
    if variant == "tsm":
        return OneFrame(*rest, shift_channels(shape.in_channels))
    return Parallel(*rest) if variant == "p3d_b" else RankOne(*rest)
