"""Initial weights drawn with NumPy, so that a seed gives the same network on every device.

The cells get finished tensors: MindSpore's own initialisers would draw a second time, from
global state.
"""

from __future__ import annotations

import math

import mindspore as ms
import numpy as np
from mindspore import nn

from ms_eff.models.row_sums import bias_add

__all__ = [
    "batch_norm",
    "conv2d",
    "conv3d",
    "dense",
    "lecun_normal",
    "projection",
    "truncated_normal",
]


def conv2d(
    rng: np.random.Generator,
    in_channels: int,
    out_channels: int,
    kernel_size: int,
    stride: int = 1,
    padded: bool = True,
) -> nn.Conv2d:
    """Return a bias-free "same" convolution, He-normal over fan-out (arXiv:1502.01852).

    Weight shape ``(out_channels, in_channels, kernel_size, kernel_size)``; without padding the map
    shrinks.
    """
    shape = (out_channels, in_channels, kernel_size, kernel_size)
    weight = rng.standard_normal(shape, dtype=np.float32)
    weight *= math.sqrt(2.0 / (out_channels * kernel_size**2))
    return nn.Conv2d(
        in_channels,
        out_channels,
        kernel_size,
        stride,
        pad_mode="pad",
        padding=kernel_size // 2 if padded else 0,
        has_bias=False,
        weight_init=ms.Tensor(weight),
    )


def conv3d(
    rng: np.random.Generator,
    in_channels: int,
    out_channels: int,
    kernel_size: tuple[int, int, int],
    stride: tuple[int, int, int] = (1, 1, 1),
) -> nn.Conv3d:
    """Return a bias-free "same" 3D convolution, He-normal over fan-out (arXiv:1502.01852).

    Weight shape ``(out_channels, in_channels, *kernel_size)``: time, height, width.
    """
    shape = (out_channels, in_channels, *kernel_size)
    weight = rng.standard_normal(shape, dtype=np.float32)
    weight *= math.sqrt(2.0 / (out_channels * math.prod(kernel_size)))
    return nn.Conv3d(
        in_channels,
        out_channels,
        kernel_size,
        stride,
        pad_mode="pad",
        padding=tuple(size // 2 for size in kernel_size for _ in range(2)),
        has_bias=False,
        weight_init=ms.Tensor(weight),
    )


def dense(rng: np.random.Generator, in_channels: int, out_channels: int) -> nn.Dense:
    """Return a dense layer, weight and bias uniform in +-1/sqrt(in_channels) as torch's Linear."""
    bound = 1.0 / math.sqrt(in_channels)
    weight = rng.uniform(-bound, bound, (out_channels, in_channels)).astype(np.float32)
    bias = rng.uniform(-bound, bound, (out_channels,)).astype(np.float32)
    return nn.Dense(
        in_channels, out_channels, weight_init=ms.Tensor(weight), bias_init=ms.Tensor(bias)
    )


def batch_norm(channels: int, gamma: float = 1.0) -> nn.BatchNorm2d:
    """Return batch normalisation with torch's defaults: eps 1e-5, 10 % of each new batch.

    MindSpore's ``momentum`` is the share that is kept, torch's the share that is replaced.
    """
    scale = ms.Tensor(np.full(channels, gamma, np.float32))
    return nn.BatchNorm2d(channels, eps=1e-5, momentum=0.9, gamma_init=scale)


def truncated_normal(rng: np.random.Generator, shape: tuple[int, ...], std: float) -> np.ndarray:
    """Return normal deviates of that standard deviation, those beyond 2 std drawn again."""
    values = rng.standard_normal(shape, dtype=np.float32)
    while (far := np.abs(values) > 2.0).any():
        values[far] = rng.standard_normal(int(far.sum()), dtype=np.float32)
    return values * np.float32(std)


def lecun_normal(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Return a weight ``(out, ...)``, truncated normal of variance 1 / fan-in.

    Cutting at 2 std leaves 0.8796 of the deviation, which is given back.
    """
    return truncated_normal(rng, shape, 1.0 / (0.87962566 * math.sqrt(math.prod(shape[1:]))))


def projection(rng: np.random.Generator, in_channels: int, out_channels: int) -> nn.Dense:
    """Return a transformer's dense layer: weight truncated normal of std 0.02, bias zero."""
    weight = truncated_normal(rng, (out_channels, in_channels), 0.02)
    bias = np.zeros(out_channels, np.float32)
    layer = nn.Dense(
        in_channels, out_channels, weight_init=ms.Tensor(weight), bias_init=ms.Tensor(bias)
    )
    layer.bias_add = bias_add()
    return layer
