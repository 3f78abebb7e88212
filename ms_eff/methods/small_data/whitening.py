"""Fixed whitening filters in the place of a network's first convolution (arXiv:2309.03965)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from mindspore import Parameter, Tensor, nn, ops

from ms_eff.errors import PlanError, nearest
from ms_eff.methods.replace import replaced
from ms_eff.models.initial import conv2d

__all__ = ["FixedConv", "WhitenedConv", "first_convolution", "whitened"]


class FixedConv(nn.Cell):
    """A convolution without bias whose filters are data: never trained, decayed or decomposed.

    Args:
        filters: (O, C, p, p).
        stride: of the patches.

    The output has the input's size over the stride; zeros are put at the end where p is even.
    """

    def __init__(self, filters: np.ndarray, stride: int = 1) -> None:
        super().__init__()
        self.filters = Parameter(Tensor(filters), name="filters", requires_grad=False)
        side = filters.shape[-1]
        before, after = (side - 1) // 2, side // 2
        # unequal borders by themselves: the ONNX exporter takes a convolution's for others
        self.border = nn.Pad(((0, 0), (0, 0), (0, 1), (0, 1))) if after > before else None
        # and sizes as pairs: it takes no numbers
        self.conv = ops.Conv2D(
            len(filters), (side, side), pad_mode="pad", pad=(before,) * 4, stride=(stride, stride)
        )

    def construct(self, x: Tensor) -> Tensor:
        """Map ``(N, C, H, W)`` to ``(N, O, H / stride, W / stride)``."""
        if self.border is not None:
            x = self.border(x)
        return self.conv(x, self.filters.astype(x.dtype))

    def own_macs(self, input_shapes: Sequence[Sequence[int]], output_shape: Sequence[int]) -> int:
        """Return the multiply-accumulates of one call."""
        return int(np.prod(output_shape) * np.prod(self.filters.shape[1:]))


class WhitenedConv(nn.Cell):
    """Whitening filters and a trainable 1x1 convolution over their outputs.

    Args:
        filters: (O, C, p, p).
        channels: of the output.
        stride: as of the convolution that it stands for.
        seed: of the 1x1 convolution's weights.
    """

    def __init__(self, filters: np.ndarray, channels: int, stride: int = 1, seed: int = 0) -> None:
        super().__init__()
        self.whiten = FixedConv(filters, stride)
        self.mix = conv2d(np.random.default_rng(seed), len(filters), channels, 1)

    def construct(self, x: Tensor) -> Tensor:
        """Map ``(N, C, H, W)`` to ``(N, channels, H / stride, W / stride)``."""
        return self.mix(self.whiten(x))


def first_convolution(network: nn.Cell, channels: int, patch: int, layer: str | None = None) -> str:
    """Return the name of the convolution that sees the images.

    Args:
        network: any.
        channels: of its images.
        patch: side of the filters that are to stand for it.
        layer: the name, if it is known.

    Raises:
        PlanError: there is no such convolution, its filters are of one pixel, or those over patches
            cannot stand for it.
    """
    found = {n: c for n, c in network.cells_and_names() if type(c) is nn.Conv2d}
    if layer is not None and layer not in found:
        raise PlanError(
            f"methods.patch_whitening.layer: no convolution '{layer}'{nearest(layer, found)}"
        )
    name = layer or next((n for n, c in found.items() if c.in_channels == channels), None)
    if name is None or found[name].in_channels != channels or max(found[name].kernel_size) < 2:
        raise PlanError(
            f"methods.patch_whitening: {type(network).__name__} does not begin with a convolution "
            f"over patches of {channels} channels; list it before methods that decompose, or name "
            "its layer"
        )
    _require_replaceable(found[name], name, channels, patch)
    return name


def _require_replaceable(conv: nn.Conv2d, layer: str, channels: int, patch: int) -> None:
    """Raise PlanError unless filters over patches give an output of the same shape and meaning."""
    height, width = conv.kernel_size
    pads = (conv.padding,) * 4 if isinstance(conv.padding, int) else conv.padding
    stride, padding = conv.stride, (pads[0] + pads[1], pads[2] + pads[3])
    keeps_size = conv.pad_mode == "same" or (
        conv.pad_mode == "pad" and padding == (height - 1, width - 1)
    )
    wrong = {
        f"{conv.in_channels} channels": conv.in_channels != channels,
        f"{conv.group} groups": conv.group != 1,
        f"dilation {max(conv.dilation)}": max(conv.dilation) > 1,
        "a bias": conv.has_bias,
        f"strides {stride[0]} and {stride[1]}": stride[0] != stride[1],
        f"stride {max(stride)}, above the patches' {patch}": max(stride) > patch,
        f"pad_mode={conv.pad_mode}, padding={conv.padding}": not keeps_size,
    }
    if any(wrong.values()):
        raise PlanError(
            f"methods.patch_whitening: convolution '{layer}' of {height} x {width} has "
            f"{', '.join(what for what, is_so in wrong.items() if is_so)}; filters stand for one "
            f"of {channels} channels, without groups, dilation or bias, with one stride of {patch} "
            "at most, whose output has the input's size over it; name another layer, or leave the "
            "method out"
        )


def whitened(network: nn.Cell, layer: str, filters: np.ndarray, seed: int = 0) -> nn.Cell:
    """Return a copy of a network in which whitening filters stand for a convolution.

    Args:
        network: any.
        layer: name of the convolution; its stride and output channels stay.
        filters: (O, C, p, p).
        seed: of the 1x1 convolution's weights.

    Raises:
        PlanError: no such convolution, or one that the filters cannot stand for.
    """
    conv: Any = dict(network.cells_and_names()).get(layer)
    if type(conv) is not nn.Conv2d:
        raise PlanError(f"patch_whitening: the network has no convolution '{layer}'")
    _require_replaceable(conv, layer, filters.shape[1], filters.shape[2])
    new = WhitenedConv(filters, conv.out_channels, conv.stride[0], seed)
    for name, parameter in new.parameters_and_names():
        parameter.name = f"{layer}.{name}"
    new.set_train(network.training)
    return replaced(network, [(conv, new)])


def rebuild(network: nn.Cell, plan: Mapping[str, Any]) -> nn.Cell:
    """Return the network of a plan, its filters zeros until weights are loaded.

    Raises:
        PlanError: the plan does not fit the network.
    """
    shape = tuple(plan["filters"])
    return whitened(network, plan["layer"], np.zeros(shape, np.float32))
