"""The layers of a network that can be decomposed: found, described, read."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import mindspore as ms
import numpy as np
from mindspore import Parameter, nn
from numpy.typing import NDArray

from ms_eff.bench.counts import count
from ms_eff.errors import PlanError
from ms_eff.methods.lowrank.cells import LowRankCell
from ms_eff.methods.lowrank.costs import Positions

__all__ = [
    "Layer",
    "find_layers",
    "is_mindformers_linear",
    "layer_positions",
    "network_params",
    "read_weight",
    "weight_of",
]

Shape = tuple[int, ...]

# attributes of parameters that are statistics: no parameters to anybody who counts
_STATISTICS = ("moving_mean", "moving_variance", "running_mean", "running_var")


@dataclass(frozen=True)
class Layer:
    """A layer with a weight, decomposable unless `reason` says why not.

    Attributes:
        name: in the network; empty where the network is that layer.
        kind: `dense`, `conv1x1`, `conv`, `embedding`; the cell's class if none of these.
        shape: of the weight: (S, C), (S, C, kh, kw), or (V, d) of an embedding.
        cell: the layer itself.
        reason: why it cannot be decomposed; empty if it can.
    """

    name: str
    kind: str
    shape: Shape
    cell: nn.Cell
    reason: str = ""


def find_layers(network: nn.Cell) -> list[Layer]:
    """Return every layer with a weight matrix or kernel, in the order of the network.

    A layer that stands in several places is found once, under its first name.
    """
    owners = _owners(network)
    found = []
    for name, cell, parent in _walk(network):
        layer = _describe(name, cell)
        if layer is None:
            continue
        shared = [owner for owner in owners.get(id(_weight(cell)), []) if owner != name]
        if not layer.reason and shared:
            layer = _refuse(layer, f"its weight is shared with '{shared[0]}'")
        if not layer.reason and isinstance(parent, nn.MultiheadAttention):
            layer = _refuse(layer, "nn.MultiheadAttention reads its weight without calling it")
        found.append(layer)
    return found


def weight_of(layer: Layer) -> Parameter:
    """Return the parameter that is to be decomposed."""
    return layer.cell.embedding_table if layer.kind == "embedding" else layer.cell.weight


def read_weight(layer: Layer) -> NDArray[np.float64]:
    """Return the layer's weight as float64 of `layer.shape`.

    Raises:
        PlanError: it holds NaN or infinity.
    """
    array = weight_of(layer).asnumpy().astype(np.float64)
    if not np.isfinite(array).all():
        raise PlanError(
            f"layer '{layer.name}': its weight holds NaN or infinity; "
            "exclude it, or load sound weights"
        )
    return array.T if getattr(layer.cell, "transpose_b", True) is False else array


def network_params(network: nn.Cell) -> int:
    """Return the number of parameters, shared ones counted once, running statistics not."""
    return sum(
        math.prod(parameter.shape)
        for parameter in network.get_parameters()
        if parameter.name.rpartition(".")[2] not in _STATISTICS
    )


def layer_positions(
    network: nn.Cell, layers: Sequence[Layer], input_shape: Shape, dtype: Any = ms.float32
) -> tuple[dict[str, Positions], int]:
    """Return how often each layer is applied to one sample, and the whole network's MACs.

    Args:
        network: the network that holds the layers.
        layers: those that can be decomposed.
        input_shape: of the network's input, batch axis first.
        dtype: of its input.
    """
    counts = count(network, input_shape, dtype)
    rows = {row.name: row for row in counts}
    positions = {}
    for layer in layers:
        row = rows.get(layer.name)
        if row is None or row.output_shape is None or layer.reason:
            continue
        if layer.kind == "embedding":
            outer = math.prod(row.output_shape) // layer.shape[1]
        else:  # by MACs, not by the last output: a layer may be called several times
            outer = row.macs // math.prod(layer.shape)
        positions[layer.name] = Positions(_inner(layer, row.output_shape, outer), outer)
    return positions, sum(row.macs for row in counts)


def _walk(network: nn.Cell) -> Iterator[tuple[str, nn.Cell, nn.Cell | None]]:
    """Yield (name, cell, parent) of each cell once; factors of decomposed layers are left out."""
    cells = dict(network.cells_and_names())
    done = [name + "." if name else "" for name, c in cells.items() if isinstance(c, LowRankCell)]
    for name, cell in cells.items():
        if not any(name.startswith(prefix) and name != prefix[:-1] for prefix in done):
            yield name, cell, cells.get(name.rpartition(".")[0]) if name else None


def _describe(name: str, cell: nn.Cell) -> Layer | None:
    weight = _weight(cell)
    if isinstance(cell, LowRankCell):
        return Layer(name, cell.kind, (), cell, "it is decomposed already")
    if weight is None:
        return None
    shape = tuple(weight.shape)
    construct = type(cell).construct
    if construct is nn.Dense.construct:
        return Layer(name, "dense", shape, cell)
    if construct is nn.Conv2d.construct:
        kind = "conv1x1" if shape[2:] == (1, 1) else "conv"
        layer = Layer(name, kind, shape, cell)
        if cell.group > 1:
            return _refuse(layer, f"it has {cell.group} groups; only ungrouped ones are decomposed")
        return layer if cell.data_format == "NCHW" else _refuse(layer, "its layout is NHWC")
    if construct is nn.Embedding.construct:
        return Layer(name, "embedding", shape, cell)
    if is_mindformers_linear(cell):
        return _mindformers_linear(name, cell, shape)
    return Layer(name, type(cell).__name__, shape, cell, f"no adapter for {type(cell).__name__}")


def _mindformers_linear(name: str, cell: nn.Cell, shape: Shape) -> Layer:
    if cell.expert_flag or cell.use_gmm:
        reason = f"it holds {cell.expert_num} experts; only plain layers are decomposed"
        return Layer(name, "dense", shape, cell, reason)
    return Layer(name, "dense", shape if cell.transpose_b else shape[::-1], cell)


def is_mindformers_linear(cell: nn.Cell) -> bool:
    """Tell whether a cell is MindFormers' own `Linear`, without importing MindFormers."""
    # a network can only hold one if its module is loaded already
    module = sys.modules.get("mindformers.modules.layers")
    return module is not None and type(cell).construct is module.Linear.construct


def _weight(cell: nn.Cell) -> Parameter | None:
    for attribute in ("weight", "embedding_table"):
        weight = cell._params.get(attribute)
        if weight is not None and len(weight.shape) >= 2:
            return weight
    return None


def _owners(network: nn.Cell) -> dict[int, list[str]]:
    """Return which cells hold each parameter, by the parameter's identity."""
    owners: dict[int, list[str]] = {}
    for name, cell in network.cells_and_names():
        for parameter in cell._params.values():
            if parameter is not None:
                owners.setdefault(id(parameter), []).append(name)
    return owners


def _refuse(layer: Layer, reason: str) -> Layer:
    return Layer(layer.name, layer.kind, layer.shape, layer.cell, reason)


def _inner(layer: Layer, output_shape: Shape, outer: int) -> int:
    """Return the input's pixels: exact at stride 1, else the largest input with that output."""
    if layer.kind != "conv":
        return outer
    area = 1
    cell = layer.cell
    for axis, size in enumerate(output_shape[2:]):
        stride, tap = cell.stride[axis], (cell.kernel_size[axis] - 1) * cell.dilation[axis] + 1
        if cell.pad_mode == "same":
            area *= size * stride
        else:
            around = _padding(cell, axis)
            area *= size * stride + tap - 1 - around
    return outer * area // math.prod(output_shape[2:])


def _padding(cell: nn.Cell, axis: int) -> int:
    if cell.pad_mode == "valid":
        return 0
    padding = cell.padding
    return 2 * padding if isinstance(padding, int) else padding[2 * axis] + padding[2 * axis + 1]
