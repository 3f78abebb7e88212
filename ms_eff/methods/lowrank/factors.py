"""From a layer to the cell of its factors: the shapes, and then the weights."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from mindspore import Parameter, Tensor, nn
from numpy.typing import NDArray

from ms_eff.methods.lowrank.cells import (
    LowRankCell,
    LowRankConv,
    LowRankConv1x1,
    LowRankDense,
    LowRankEmbedding,
)
from ms_eff.methods.lowrank.core import truncation_error
from ms_eff.methods.lowrank.criteria import WEIGHT, Criterion
from ms_eff.methods.lowrank.layers import (
    Layer,
    is_mindformers_linear,
    read_weight,
    weight_of,
)
from ms_eff.methods.lowrank.tucker import block_diagonal, composed, diagonal_blocks, tucker_error

__all__ = ["Factors", "empty_like", "factorize", "fill"]

Array = NDArray[np.float64]
Shape = tuple[int, ...]


@dataclass(frozen=True)
class Factors:
    """What stands in for a layer's weight.

    Attributes:
        weights: by factor, in MindSpore's layouts.
        error: relative Frobenius error of the weight.
        criterion_error: root of the share of the criterion's loss; None where that is `error`.
    """

    weights: dict[str, Array]
    error: float
    criterion_error: float | None


def empty_like(layer: Layer, rank: Shape, branches: int = 1) -> LowRankCell:
    """Return the factors' cell of a layer, all weights zero and the bias copied.

    Parameter names, dtypes, mixed-precision flags and `requires_grad` follow the layer.

    Args:
        layer: one that can be decomposed.
        rank: (R,), or (r1, r2) of a `conv`.
        branches: groups of the core of a `conv`.
    """
    old = layer.cell
    if layer.kind == "conv":
        new: LowRankCell = _conv(old, layer.shape, rank, branches)
    else:
        new = _BUILDERS[layer.kind](old, layer.shape, rank)
    bias = getattr(old, "bias", None)
    if isinstance(bias, Parameter):
        new.last.bias = copy.deepcopy(bias)
        new.last.bias.parallel_optimizer = bias.parallel_optimizer
    weight = weight_of(layer)
    prefix = weight.name.removesuffix(weight.name.rpartition(".")[2])
    for path, parameter in new.parameters_and_names():
        parameter.name = prefix + path
    for factor in new.factors().values():
        factor.requires_grad = weight.requires_grad
    new.add_flags_recursive(**old.get_flags())
    new.set_train(old.training)
    return new


def factorize(layer: Layer, rank: Shape, branches: int = 1, by: Criterion = WEIGHT) -> Factors:
    """Return the factors' weights, in MindSpore's layouts, and their errors.

    Several branches keep the diagonal blocks of the core (arXiv:2407.20266, section 6).
    """
    weight = read_weight(layer)
    if layer.kind == "conv":
        first, core, last = by.tucker(layer, weight, (rank[0], rank[1]))
        core = diagonal_blocks(core, branches)
        full = block_diagonal(core, branches)
        error = tucker_error(weight, first, full, last)
        missed = by.error(layer, weight, composed(first, full, last))
        return Factors({"first": first, "core": core, "last": last}, error, missed)
    # (S, C): outputs by inputs; a table's rows are inputs
    matrix = weight.T if layer.kind == "embedding" else weight.reshape(weight.shape[:2])
    first, last = by.pair(layer, matrix, rank[0])
    error = truncation_error(matrix, last, first)
    missed = by.error(layer, matrix, last @ first)
    if layer.kind == "embedding":
        return Factors({"first": first.T, "last": last}, error, missed)
    taps = (1, 1) if layer.kind == "conv1x1" else ()
    named = {"first": first, "last": last}
    return Factors({n: f.reshape(*f.shape, *taps) for n, f in named.items()}, error, missed)


def fill(cell: LowRankCell, weights: Mapping[str, Array]) -> None:
    """Put factors into the cell that `empty_like` made."""
    for name, parameter in cell.factors().items():
        array = weights[name]
        # MindFormers may keep its weights as (in, out)
        if getattr(getattr(cell, name), "transpose_b", True) is False:
            array = array.T
        parameter.set_data(Tensor(array.astype(np.float32), parameter.dtype))


def _dense(old: nn.Cell, shape: Shape, rank: Shape) -> LowRankDense:
    if is_mindformers_linear(old):
        return _mindformers_linear(old, shape, rank)
    (S, C), (R,) = shape, rank
    first = nn.Dense(C, R, has_bias=False, weight_init="zeros", dtype=old.weight.dtype)
    last = nn.Dense(
        R,
        S,
        weight_init="zeros",
        bias_init="zeros",
        has_bias=old.has_bias,
        activation=copy.deepcopy(old.activation),
        dtype=old.weight.dtype,
    )
    if old.has_bias:  # networks may have a faster one (`ms_eff.models.row_sums`)
        last.bias_add = copy.deepcopy(old.bias_add)
    return LowRankDense(first, last)


def _mindformers_linear(old: nn.Cell, shape: Shape, rank: Shape) -> LowRankDense:
    # the class its own module has; a subclass may take other arguments
    linear = next(c for c in type(old).__mro__ if c.__module__ == "mindformers.modules.layers")
    same: dict[str, Any] = {
        "weight_init": "zeros",
        "transpose_b": old.transpose_b,
        "param_init_type": old.weight.dtype,
        "compute_dtype": old.dtype,
    }
    (S, C), (R,) = shape, rank
    last = linear(R, S, has_bias=old.has_bias, **same)
    last.activation = copy.deepcopy(old.activation)
    last.activation_flag, last.act_name = old.activation_flag, old.act_name
    return LowRankDense(linear(C, R, has_bias=False, **same), last)


def _conv1x1(old: nn.Cell, shape: Shape, rank: Shape) -> LowRankConv1x1:
    (S, C), (R,) = shape[:2], rank
    first = _conv2d(old, C, R, shape[2:], carries=True)
    return LowRankConv1x1(first, _conv2d(old, R, S, 1, last=True))


def _conv(old: nn.Cell, shape: Shape, rank: Shape, branches: int) -> LowRankConv:
    (S, C), (r1, r2) = shape[:2], rank
    return LowRankConv(
        _conv2d(old, C, r1, 1),
        _conv2d(old, r1, r2, shape[2:], carries=True, group=branches),
        _conv2d(old, r2, S, 1, last=True),
    )


def _conv2d(
    old: nn.Cell,
    C: int,
    S: int,
    kernel: int | Shape,
    *,
    carries: bool = False,
    last: bool = False,
    group: int = 1,
) -> nn.Conv2d:
    """Return a factor; the one that `carries` has the old layer's stride, padding and dilation."""
    geometry: dict[str, Any] = {"pad_mode": "valid"}
    if carries:
        names = ("stride", "pad_mode", "padding", "dilation")
        geometry = {name: getattr(old, name) for name in names}
    return nn.Conv2d(
        C,
        S,
        kernel,
        group=group,
        has_bias=last and old.has_bias,
        weight_init="zeros",
        bias_init="zeros",
        dtype=old.weight.dtype,
        **geometry,
    )


def _embedding(old: nn.Cell, shape: Shape, rank: Shape) -> LowRankEmbedding:
    (V, d), (R,) = shape, rank
    dtype = old.embedding_table.dtype
    # padding_idx is a matter of the initial table: a zero row has zero factors
    table = Tensor(np.zeros((V, R), np.float32), dtype)
    first = nn.Embedding(V, R, old.use_one_hot, embedding_table=table, dtype=old.dtype)
    return LowRankEmbedding(first, nn.Dense(R, d, has_bias=False, weight_init="zeros", dtype=dtype))


_BUILDERS = {"dense": _dense, "conv1x1": _conv1x1, "embedding": _embedding}
