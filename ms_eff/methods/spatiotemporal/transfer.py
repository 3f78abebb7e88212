"""Weights of a 3D convolution, and of its normalisation, put into the cells that replace it."""

from __future__ import annotations

import mindspore as ms
import numpy as np
from mindspore import nn

from ms_eff.methods.spatiotemporal.cells import ClipConv, OneFrame, OnePixel, TwoBranch
from ms_eff.methods.spatiotemporal.core import fit_branches, fit_shift
from ms_eff.methods.spatiotemporal.units import Unit

__all__ = ["take_over", "widened_inputs"]


def take_over(conv: nn.Conv3d, norm: nn.Cell | None, block: ClipConv) -> float | None:
    """Put the nearest weights into a block; return the kernel's relative error.

    Where both branches of `add` take their share, the normalisation's scale serves both, and its
    mean and shift go to the spatial one: at inference the sum is what it was. Where the paper's
    stride makes the temporal branch read other pixels, nothing of the kernel is right for it: it
    starts from zero, and the spatial one has the whole central frame.

    Args:
        conv: what it replaces.
        norm: the batch normalisation behind it (of 2D maps), or None.
        block: with new weights; gets those of the convolution.

    Returns:
        None if no weights can be taken over: the block keeps its new ones.
    """
    if not isinstance(block, (OneFrame, OnePixel, TwoBranch)):
        return None
    kernel = conv.weight.asnumpy()
    bias = conv.bias.asnumpy() if conv.has_bias else None
    if isinstance(block, TwoBranch) and block.temporal is not None:
        if block.temporal.down * block.temporal.right == 1:
            spatial, temporal, error = fit_branches(kernel)
        else:
            spatial, error = fit_shift(kernel, 0)
            temporal = np.zeros(kernel.shape[:3], kernel.dtype)
        _fill(block.spatial, spatial, bias)
        _fill(block.temporal.unit, temporal[..., None], None)
        _norm(norm, block.temporal.unit, shifted=False)
        last = _mixed(block)
        _norm(norm, last)
        return error
    if isinstance(block, OnePixel):
        _alone(block.temporal.unit, kernel[..., 0], bias, norm)
        return 0.0
    shifted = block.shifted if isinstance(block, OneFrame) else 0
    flat, error = fit_shift(kernel, shifted)
    last = _mixed(block) if isinstance(block, TwoBranch) else block.spatial
    _alone(block.spatial, flat, bias, norm, last)
    return error


def widened_inputs(weight: np.ndarray, inputs: int) -> np.ndarray:
    """Return a weight for inputs that come in parts whose sum they were: repeated for each part.

    >>> widened_inputs(np.ones((2, 3)), 6).shape
    (2, 6)
    """
    return np.concatenate([weight] * (inputs // weight.shape[1]), axis=1)


def _alone(
    unit: Unit,
    weight: np.ndarray,
    bias: np.ndarray | None,
    norm: nn.Cell | None,
    last: Unit | None = None,
) -> None:
    """Fill a branch that is alone: where it is twice as wide, each half gives half."""
    copies = unit.conv.out_channels // weight.shape[0]
    share = 1 / copies if norm is None else 1.0
    _fill(unit, np.concatenate([weight * share] * copies), None if bias is None else bias * share)
    _norm(norm, last or unit, copies=copies)


def _mixed(block: TwoBranch) -> Unit:
    """Let the 1x1 convolution that strides time change nothing; return what bears the norm."""
    if block.mix is None:
        return block.spatial
    eye = np.eye(block.mix.conv.out_channels, dtype=np.float32)
    _set(block.mix.conv.weight, eye[:, :, None, None])
    return block.mix


def _fill(unit: Unit, weight: np.ndarray, bias: np.ndarray | None) -> None:
    inputs = unit.conv.in_channels
    _set(unit.conv.weight, widened_inputs(weight, inputs))
    if bias is not None:
        _set(unit.conv.bias, np.concatenate([bias] * (unit.conv.out_channels // len(bias))))


def _norm(norm: nn.Cell | None, unit: Unit, *, shifted: bool = True, copies: int = 1) -> None:
    if norm is None or unit.norm is None:
        return
    for name in ("gamma", "beta", "moving_mean", "moving_variance"):
        values = getattr(norm, name).asnumpy()
        if name in ("gamma", "beta"):
            values = values / copies
        if not shifted and name in ("beta", "moving_mean"):
            values = np.zeros_like(values)
        _set(getattr(unit.norm, name), np.concatenate([values] * copies))


def _set(parameter: ms.Parameter, values: np.ndarray) -> None:
    array = np.ascontiguousarray(values, np.float32).reshape(parameter.shape)
    parameter.set_data(ms.Tensor(array, parameter.dtype))
