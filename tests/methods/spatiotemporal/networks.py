"""Small networks for clips whose outputs depend on everything."""

from __future__ import annotations

from typing import Any

import mindspore as ms
import numpy as np
from mindspore import nn

from ms_eff import models
from ms_eff.methods.spatiotemporal.core import as_kernel
from ms_eff.models.clips import Block3d, ClipMean, Unfold, fold

SIZES = {"width": 6, "frames": 4, "image_size": 8, "num_classes": 3}


def lively(network: nn.Cell, seed: int = 0, factored: bool = False) -> nn.Cell:
    """Move every array off its zeros and ones; `factored` kernels are a slice plus a column."""
    rng = np.random.default_rng(seed)
    for parameter in network.get_parameters():
        values = parameter.asnumpy()
        if values.ndim == 1:
            values = values + rng.uniform(-0.3, 0.3, values.shape)
        elif values.ndim == 5 and factored and min(values.shape[2:]) > 1:
            spatial, temporal = values[:, :, 1].copy(), values[:, :, :, 1, 1].copy()
            values = as_kernel(spatial, temporal)
        parameter.set_data(ms.Tensor(values.astype(np.float32)))
    return network


def small(factored: bool = False, **sizes: Any) -> nn.Cell:
    """Return the CPU-sized ECO-Lite."""
    return lively(models.build("eco_lite_small", **{**SIZES, **sizes}), factored=factored)


class OneBlock(nn.Cell):
    """A strided block with its shortcut, between what folds clips and what takes their mean."""

    input_shape = (1, 4, 3, 8, 8)

    def __init__(self) -> None:
        super().__init__()
        self.unfold = Unfold(4)
        self.block = Block3d(np.random.default_rng(0), 3, 4, 2)
        self.pool = ClipMean(2)

    def construct(self, clips: ms.Tensor) -> ms.Tensor:
        return self.pool(self.block(self.unfold(fold(clips))))


class Plain5d(nn.Cell):
    """Somebody's network: (B, C, T, H, W) in, no norm behind the second convolution."""

    def __init__(self) -> None:
        super().__init__()
        rng = np.random.default_rng(0)
        self.conv1 = conv(rng, 2, 4, (3, 3, 3))
        self.bn1 = nn.BatchNorm3d(4)
        self.pool = nn.MaxPool3d((1, 2, 2), (1, 2, 2))
        self.conv2 = conv(rng, 4, 6, (3, 1, 1), bias=True)
        self.conv3 = conv(rng, 6, 6, (1, 3, 3))
        self.fc = nn.Dense(6, 5)

    def construct(self, x: ms.Tensor) -> ms.Tensor:
        x = self.pool(self.bn1(self.conv1(x)))
        return self.fc(self.conv3(self.conv2(x)).mean((2, 3, 4)))


def conv(
    rng: np.random.Generator, C: int, S: int, kernel: tuple[int, int, int], bias: bool = False
) -> nn.Conv3d:
    weight = rng.standard_normal((S, C, *kernel), dtype=np.float32) * 0.3
    pads = tuple(k // 2 for k in kernel for _ in range(2))
    return nn.Conv3d(C, S, kernel, pad_mode="pad", padding=pads, has_bias=bias,
                     weight_init=ms.Tensor(weight))  # fmt: skip


def clips(batch: int = 2, channels: int = 3, frames: int = 4, side: int = 8) -> np.ndarray:
    rng = np.random.default_rng(7)
    return rng.standard_normal((batch, frames, channels, side, side), dtype=np.float32)
