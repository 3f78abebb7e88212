"""Parameters and multiply-accumulates of a network, layer by layer, from one real forward."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

import mindspore as ms
import numpy as np
from mindspore import Parameter, Tensor, nn

from ms_eff.bench.modes import execution_mode, inference
from ms_eff.errors import ConfigError, first_line

__all__ = ["LayerCount", "calls_of", "count", "totals"]

Shape = tuple[int, ...]

# by name, so that MindFormers' Linear and mindspore.mint's layers count without importing them
_PER_OUTPUT = {"Dense", "Linear", "Conv1d", "Conv2d", "Conv3d"}
_PER_INPUT = {
    *("Conv1dTranspose", "Conv2dTranspose", "Conv3dTranspose"),
    *("ConvTranspose1d", "ConvTranspose2d", "ConvTranspose3d"),
}
# Parameters to MindSpore, but statistics to everybody who counts
_STATISTICS = {
    *("moving_mean", "moving_variance"),
    *("running_mean", "running_var", "num_batches_tracked"),
    "drawn",  # how many random scores or masks a network has used
}


@dataclass(frozen=True)
class LayerCount:
    """What one layer weighs and costs.

    Attributes:
        name: the cell's name in the network; `""` is the network itself.
        kind: the cell's class.
        shape: of its weight; of its first parameter where none is called weight; or empty.
        params: its own parameters, running statistics left out, shared ones counted once.
        macs: multiply-accumulates for one sample; biases, norms and activations count as none.
        output_shape: of its last call, with a batch axis of 1; None if it was not called.
        input_shape: of the first tensor that call took, likewise.
    """

    name: str
    kind: str
    shape: Shape
    params: int
    macs: int
    output_shape: Shape | None
    input_shape: Shape | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as JSON takes them."""
        return asdict(self)


def count(cell: nn.Cell, input_shape: Sequence[int], dtype: Any = None) -> list[LayerCount]:
    """Count every layer that owns parameters, for one sample.

    One inference runs in pynative mode on zeros and each layer's cost follows from the shapes it
    really met, so strides, padding, groups and layers called twice need no formula of their own.
    Work between layers (attention's two products, say) counts where the cell that does it has a
    method `own_macs(input_shapes, output_shape) -> int`.

    Args:
        cell: the network; mode, hooks and compiled graphs are left as they are.
        input_shape: of its input, batch axis first; the count is made at batch 1.
        dtype: of its input; by default the network's `input_dtype`, or float32 if it has none.

    Raises:
        ConfigError: the network does not take an input of that shape.

    >>> from mindspore import nn
    >>> [(layer.params, layer.macs) for layer in count(nn.Dense(8, 4), (1, 8))]
    [(36, 32)]
    """
    calls = _calls(cell, (1, *input_shape[1:]), dtype)
    counted: set[int] = set()
    rows = (_row(name, part, calls, counted) for name, part in cell.cells_and_names())
    return [row for row in rows if row is not None]


def calls_of(
    cell: nn.Cell, input_shape: Sequence[int], dtype: Any = None
) -> dict[str, list[tuple[list[Shape], Shape]]]:
    """Return the (input shapes, output shape) of every call of every layer, by name.

    Args:
        cell: the network; mode, hooks and compiled graphs are left as they are.
        input_shape: of its input, batch axis first, at the batch that is wanted.
        dtype: of its input.

    Raises:
        ConfigError: the network does not take an input of that shape.
    """
    calls = _calls(cell, tuple(input_shape), dtype)
    return {name: calls[id(part)] for name, part in cell.cells_and_names()}


def _calls(cell: nn.Cell, shape: Shape, dtype: Any) -> dict[int, list[tuple[list[Shape], Shape]]]:
    calls: dict[int, list[tuple[list[Shape], Shape]]] = {}
    with inference(cell), execution_mode(ms.PYNATIVE_MODE), _watched(cell, calls):
        try:
            cell(Tensor(np.zeros(shape), dtype or getattr(cell, "input_dtype", ms.float32)))
        except (RuntimeError, TypeError, ValueError) as error:
            raise ConfigError(
                f"input_shape: {type(cell).__name__} does not take {shape} ({first_line(error)}); "
                "give the shape of its input, batch axis first, and an integer type for token ids"
            ) from error
    return calls


def totals(counts: Sequence[LayerCount]) -> dict[str, int]:
    """Return the sums over all layers: `{"params": ..., "macs": ...}`.

    >>> totals([LayerCount("a", "Dense", (4, 8), 36, 32, (1, 4))])
    {'params': 36, 'macs': 32}
    """
    return {
        "params": sum(layer.params for layer in counts),
        "macs": sum(layer.macs for layer in counts),
    }


@contextmanager
def _watched(cell: nn.Cell, calls: dict[int, list[tuple[list[Shape], Shape]]]) -> Iterator[None]:
    """Note the shapes of every call of every layer.

    Not by forward hooks: registering one changes MindSpore's global hook version, which is part of
    every compiled graph's key, and would compile all graphs of the process again.
    """
    watched = {id(part): part for _, part in cell.cells_and_names()}
    own = {key: part.__dict__.get("construct") for key, part in watched.items()}
    for key, part in watched.items():
        part.__dict__["construct"] = _noting(part, calls.setdefault(key, []))
    try:
        yield
    finally:
        for key, part in watched.items():
            del part.__dict__["construct"]
            if own[key] is not None:
                part.__dict__["construct"] = own[key]


def _noting(part: nn.Cell, calls: list[tuple[list[Shape], Shape]]) -> Any:
    construct = part.construct

    def noting(*args: Any, **kwargs: Any) -> Any:
        output = construct(*args, **kwargs)
        first = output[0] if isinstance(output, (tuple, list)) and output else output
        if isinstance(first, Tensor):
            tensors = [value for value in (*args, *kwargs.values()) if isinstance(value, Tensor)]
            calls.append(([tuple(value.shape) for value in tensors], tuple(first.shape)))
        return output

    return noting


def _row(
    name: str,
    part: nn.Cell,
    calls: dict[int, list[tuple[list[Shape], Shape]]],
    counted: set[int],
) -> LayerCount | None:
    own = [
        parameter
        for attribute, parameter in part._params.items()
        if parameter is not None and attribute not in _STATISTICS
    ]
    if not own and not hasattr(part, "own_macs"):
        return None
    seen = calls[id(part)]
    fresh = [parameter for parameter in own if id(parameter) not in counted]
    counted.update(id(parameter) for parameter in own)
    weight = _weight(part)
    return LayerCount(
        name=name,
        kind=type(part).__name__,
        shape=tuple(weight.shape) if weight is not None else _first_shape(own),
        params=sum(math.prod(parameter.shape) for parameter in fresh),
        macs=sum(_macs(part, weight, inputs, output) for inputs, output in seen),
        output_shape=seen[-1][1] if seen else None,
        input_shape=next(iter(seen[-1][0]), None) if seen else None,
    )


def _macs(part: nn.Cell, weight: Parameter | None, inputs: list[Shape], output: Shape) -> int:
    kinds = {base.__name__ for base in type(part).__mro__}
    macs = int(part.own_macs(inputs, output)) if hasattr(part, "own_macs") else 0
    if weight is None or len(weight.shape) < 2:
        return macs
    size = math.prod(weight.shape)
    if kinds & _PER_OUTPUT:  # each output element: one weight per input channel and kernel tap
        return macs + math.prod(output) * size // _channels_out(part, weight)
    if kinds & _PER_INPUT:  # a transposed convolution spreads each input element instead
        return macs + math.prod(inputs[0]) * size // weight.shape[0]
    return macs


def _channels_out(part: nn.Cell, weight: Parameter) -> int:
    # MindFormers' Linear may keep its weight as (in, out)
    return int(getattr(part, "out_channels", weight.shape[0]))


def _weight(part: nn.Cell) -> Parameter | None:
    weight = getattr(part, "weight", None)
    return weight if isinstance(weight, Parameter) else None


def _first_shape(own: Sequence[Parameter]) -> Shape:
    return tuple(own[0].shape) if own else ()
