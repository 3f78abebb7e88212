"""The cells of a merged block, and what goes into them."""

from __future__ import annotations

import copy
from collections.abc import Mapping

import numpy as np
from mindspore import Tensor, nn

from ms_eff.errors import PlanError
from ms_eff.methods.lowrank.merge import Affine, MergedWeights, folded_norm, merge_weights
from ms_eff.methods.lowrank.plan import LayerPlan

__all__ = ["empty_block", "fill_block", "merged_weights", "pairs_of", "shifted_norm"]


def merged_weights(cell: nn.Cell, entry: LayerPlan) -> MergedWeights:
    """Return the kernels and biases of a bottleneck merged at the entry's ranks.

    Raises:
        PlanError: a weight holds NaN or infinity.
    """
    convs = (cell.conv1, cell.conv2, cell.conv3)
    kernels = tuple(_array(conv.weight, entry.name) for conv in convs)
    norms = (_norm(cell.bn1, cell.conv1), _norm(cell.bn2, cell.conv2))
    bias3 = cell.conv3.bias.asnumpy().astype(np.float64) if cell.conv3.has_bias else None
    ranks = (entry.rank[0], entry.rank[1])
    return merge_weights((kernels[0], kernels[1], kernels[2]), norms, ranks, entry.branches, bias3)


def _array(parameter: Tensor, block: str) -> np.ndarray:
    array = parameter.asnumpy().astype(np.float64)
    if not np.isfinite(array).all():
        raise PlanError(f"block '{block}': a weight holds NaN or infinity; load sound weights")
    return array


def _norm(norm: nn.Cell, conv: nn.Cell) -> Affine:
    gamma, beta, mean, variance = (
        p.asnumpy().astype(np.float64)
        for p in (norm.gamma, norm.beta, norm.moving_mean, norm.moving_variance)
    )
    bias = conv.bias.asnumpy().astype(np.float64) if conv.has_bias else None
    return folded_norm(gamma, beta, mean, variance, norm.eps, bias)


def empty_block(cell: nn.Cell, entry: LayerPlan) -> dict[str, nn.Cell]:
    """Return the five cells that are new in a merged block; kernels are zeros, norms are fresh."""
    r1, r2 = entry.rank
    C, S = cell.conv1.in_channels, cell.conv3.out_channels
    new = {
        "conv1": _conv(cell.conv1, C, r1, has_bias=entry.bias),
        "bn1": _fresh_norm(cell.bn1, r1),
        "conv2": _conv(cell.conv2, r1, r2, group=entry.branches),
        "bn2": _fresh_norm(cell.bn2, r2),
        "conv3": _conv(cell.conv3, r2, S, has_bias=entry.bias),
    }
    for name, made in new.items():
        old = getattr(cell, name)
        own = old.gamma if name.startswith("bn") else old.weight
        prefix = own.name.removesuffix(own.name.rpartition(".")[2])
        for path, parameter in made.parameters_and_names():
            parameter.name = prefix + path
        made.add_flags_recursive(**old.get_flags())
        made.set_train(old.training)
    return new


def _conv(old: nn.Conv2d, C: int, S: int, has_bias: bool = False, group: int = 1) -> nn.Conv2d:
    geometry = ("kernel_size", "stride", "pad_mode", "padding", "dilation")
    return nn.Conv2d(
        C,
        S,
        has_bias=has_bias,
        group=group,
        weight_init="zeros",
        bias_init="zeros",
        dtype=old.weight.dtype,
        **{name: getattr(old, name) for name in geometry},
    )


def _fresh_norm(old: nn.BatchNorm2d, channels: int) -> nn.BatchNorm2d:
    # the attribute is the share that is replaced, the argument the one that is kept
    return nn.BatchNorm2d(channels, eps=old.eps, momentum=1.0 - old.momentum)


def fill_block(new: Mapping[str, nn.Cell], weights: MergedWeights) -> None:
    """Put merged weights into the cells that `empty_block` made."""
    arrays = [
        (new["conv1"].weight, weights.conv1),
        (new["conv2"].weight, weights.core),
        (new["conv3"].weight, weights.conv3),
    ]
    if new["conv1"].has_bias:
        arrays += [(new["conv1"].bias, weights.bias1), (new["conv3"].bias, weights.bias3)]
    for parameter, array in arrays:
        parameter.set_data(Tensor(array.astype(np.float32), parameter.dtype))


def shifted_norm(bn1: nn.Cell, bn3: nn.Cell, weights: MergedWeights) -> nn.Cell:
    """Move the biases' shifts into the means of what follows; return the new bn3.

    `norm(x + b)` with mean m is `norm(x)` with mean `m - b`.
    """
    bn3 = copy.deepcopy(bn3)
    for norm, shift in ((bn1, weights.bias1), (bn3, weights.bias3)):
        mean = norm.moving_mean
        mean.set_data(Tensor((mean.asnumpy() - shift).astype(np.float32), mean.dtype))
    return bn3


def pairs_of(cell: nn.Cell, new: Mapping[str, nn.Cell]) -> list[tuple[nn.Cell, nn.Cell]]:
    """Return (old, new) for each cell of a block that is exchanged."""
    return [(getattr(cell, name), made) for name, made in new.items()]
