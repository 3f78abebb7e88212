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


class Normed(nn.Cell):
    """Two convolutions, each declared in front of the norm that is called behind the other one.

    Args:
        taken: what the norms take: `crossed`, just these outputs; `before`, the input of their
            convolution; `behind`, what a ReLU made of the first output; `twice`, an output that
            something else takes too; `shared`, both outputs by one norm.
    """

    def __init__(self, taken: str) -> None:
        super().__init__()
        rng = np.random.default_rng(0)
        self.taken = taken
        self.conv1, self.bn2 = conv(rng, 4, 4, (3, 3, 3)), nn.BatchNorm3d(4)
        self.conv2, self.bn1 = conv(rng, 4, 4, (3, 3, 3)), nn.BatchNorm3d(4)
        self.relu = nn.ReLU()

    def construct(self, x: ms.Tensor) -> ms.Tensor:
        relu, conv1, conv2, bn1, bn2 = self.relu, self.conv1, self.conv2, self.bn1, self.bn2
        if self.taken == "before":
            return conv2(relu(bn2(conv1(relu(bn1(x))))))
        y = conv1(x)
        if self.taken == "behind":
            return bn2(conv2(bn1(relu(y))))
        if self.taken == "twice":
            return bn2(conv2(relu(bn1(y)) + y))
        return (bn1 if self.taken == "shared" else bn2)(conv2(relu(bn1(y))))


class FoldedNormed(nn.Cell):
    """The same with norms crossed, for clips whose frames may stay folded."""

    input_shape = (1, 4, 4, 8, 8)

    def __init__(self) -> None:
        super().__init__()
        self.unfold, self.inner, self.pool = Unfold(4), Normed("crossed"), ClipMean(4)

    def construct(self, x: ms.Tensor) -> ms.Tensor:
        return self.pool(self.inner(self.unfold(fold(x))))


def conv(
    rng: np.random.Generator,
    C: int,
    S: int,
    kernel: tuple[int, int, int],
    bias: bool = False,
    stride: int = 1,
) -> nn.Conv3d:
    weight = rng.standard_normal((S, C, *kernel), dtype=np.float32) * 0.3
    pads = tuple(k // 2 for k in kernel for _ in range(2))
    return nn.Conv3d(C, S, kernel, stride, pad_mode="pad", padding=pads, has_bias=bias,
                     weight_init=ms.Tensor(weight))  # fmt: skip


def clips(batch: int = 2, channels: int = 3, frames: int = 4, side: int = 8) -> np.ndarray:
    rng = np.random.default_rng(7)
    return rng.standard_normal((batch, frames, channels, side, side), dtype=np.float32)
