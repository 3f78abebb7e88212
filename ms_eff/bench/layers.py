"""Time single layers, whole and decomposed, in the shapes that they meet in a network."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import mindspore as ms
import numpy as np
from mindspore import Tensor, nn, ops

from ms_eff.bench.counts import calls_of
from ms_eff.bench.profiler import ProfilerTimer
from ms_eff.bench.timers import Timer, WallTimer, Work
from ms_eff.errors import SetupError, UserError, first_line
from ms_eff.methods.lowrank.cost_model import LayerCalls, LayerWork, Objective
from ms_eff.methods.lowrank.factors import empty_like
from ms_eff.methods.lowrank.layers import (
    Layer,
    is_mindformers_linear,
    network_params,
    weight_of,
)
from ms_eff.methods.lowrank.plan import max_ranks
from ms_eff.methods.lowrank.profile import NetworkWork
from ms_eff.methods.lowrank.rank_search import Timing

__all__ = ["layer_dtype", "layer_work", "measure_layer", "network_dtype", "network_work"]


def layer_work(
    network: nn.Cell, layers: Sequence[Layer], input_shape: Sequence[int], dtype: Any = ms.float32
) -> dict[str, LayerCalls]:
    """Return what each layer is called on, and how often; layers never called are left out.

    Args:
        network: the network that holds the layers.
        layers: those that can be decomposed.
        input_shape: of the network's input, with the batch that is to be timed.
        dtype: of that input.
    """
    calls = calls_of(network, input_shape, dtype)
    found = {}
    for layer in layers:
        seen = calls.get(layer.name, [])
        if seen and not layer.reason:
            same = {"geometry": _geometry(layer), "dtype": layer_dtype(layer)}
            found[layer.name] = LayerCalls.of(
                [LayerWork(layer.kind, layer.shape, i[0], o, **same) for i, o in seen]
            )
    return found


def network_work(
    network: nn.Cell, layers: Sequence[Layer], input_shape: Sequence[int]
) -> NetworkWork:
    """Return what a latency profile knows the network by."""
    return NetworkWork(len(layers), network_params(network), tuple(input_shape))


def layer_dtype(layer: Layer) -> str:
    """Return what a layer computes in: what `to_float` says, else the type of its weight."""
    flags = layer.cell.get_flags()
    for flag, name in (("fp16", "float16"), ("bf16", "bfloat16"), ("fp32", "float32")):
        if flags.get(flag):
            return name
    if is_mindformers_linear(layer.cell):  # it casts by itself
        return _name(layer.cell.dtype)
    return _name(weight_of(layer).dtype)


def network_dtype(layers: Sequence[Layer]) -> str:
    """Return what the layers that can be decomposed compute in, `float16+float32` if not alike."""
    return "+".join(sorted({layer_dtype(layer) for layer in layers if not layer.reason}))


def _name(dtype: Any) -> str:
    return str(dtype).lower()


def measure_layer(
    layer: Layer,
    work: LayerWork,
    ranks: Sequence[int],
    objective: Objective = "infer",
    timer: Timer | None = None,
) -> tuple[Timing, dict[int, Timing]]:
    """Time a layer and its factors at several ranks, each compiled as a graph of its own.

    With a `WallTimer` or a `ProfilerTimer` they take turns, so that a machine that slows down slows
    all alike.

    Args:
        layer: one that can be decomposed; it stays as it is.
        work: its shapes, from `layer_work`.
        ranks: to time; of a convolution, of both channel modes.
        objective: `infer` times the forward, `train` forward and backward.
        timer: `WallTimer()` if None.

    Returns:
        The time of the layer itself, and the time by rank.

    Raises:
        SetupError: this device cannot run the layer in what it computes in.
    """
    modes = len(max_ranks(layer.kind, layer.shape))
    cells: dict[int, nn.Cell] = {0: copy.deepcopy(layer.cell)}  # 0 is the layer itself
    cells |= {rank: empty_like(layer, (rank,) * modes) for rank in ranks}
    rng = np.random.default_rng(0)
    inputs = _inputs(work, layer, rng)
    candidates = {rank: _work(cell, inputs, objective, rng) for rank, cell in cells.items()}
    try:
        samples = _samples(candidates, timer or WallTimer())
    except (RuntimeError, TypeError, ValueError) as error:
        if work.dtype == "float32" or isinstance(error, UserError):
            raise
        raise SetupError(
            f"layer '{layer.name}' ({work}): this device does not run it in {work.dtype} "
            f"({first_line(error)}); train with precision: O0, or search with timer: model or a "
            "profile of the device it will run on"
        ) from error
    return Timing.of(samples[0]), {rank: Timing.of(samples[rank]) for rank in ranks}


class _Forward(nn.Cell):
    """Runs a layer and returns one number: copying the output back is none of its work."""

    def __init__(self, layer: nn.Cell) -> None:
        super().__init__(auto_prefix=False)
        self.layer = layer

    def construct(self, inputs: Tensor, one: Tensor) -> Tensor:
        return ops.depend(one, self.layer(inputs)) + one


class _ForwardBackward(nn.Cell):
    """The same with the gradients of the weights and, unless they are ids, of the inputs."""

    def __init__(self, layer: nn.Cell, ids: bool) -> None:
        super().__init__(auto_prefix=False)
        self.layer = layer
        weights = ms.ParameterTuple(layer.trainable_params())
        self.gradient = ms.value_and_grad(layer, None if ids else 0, weights)

    def construct(self, inputs: Tensor, one: Tensor) -> Tensor:
        return ops.depend(one, self.gradient(inputs)) + one


def _work(cell: nn.Cell, inputs: Tensor, objective: Objective, rng: np.random.Generator) -> Work:
    for parameter in cell.get_parameters():  # zeros may be faster than numbers
        value = rng.standard_normal(parameter.shape) * 0.01
        parameter.set_data(Tensor(value.astype(np.float32), parameter.dtype))
        parameter.requires_grad = True
    one = Tensor(np.ones(1, np.float32))
    if objective == "infer":
        timed = _Forward(cell).set_train(False)
    else:
        timed = _ForwardBackward(cell, inputs.dtype == ms.int32).set_train(True)
    return lambda: timed(inputs, one)


def _inputs(work: LayerWork, layer: Layer, rng: np.random.Generator) -> Tensor:
    if layer.kind == "embedding":
        return Tensor(rng.integers(0, layer.shape[0], work.input), ms.int32)
    return Tensor(rng.standard_normal(work.input).astype(np.float32), getattr(ms, work.dtype))


def _samples(candidates: Mapping[int, Work], timer: Timer) -> dict[int, list[float]]:
    if not isinstance(timer, (WallTimer, ProfilerTimer)):
        return {rank: timer.samples(work) for rank, work in candidates.items()}
    taken = timer.compare({str(rank): work for rank, work in candidates.items()}).samples
    return {rank: taken[str(rank)] for rank in candidates}


def _geometry(layer: Layer) -> str:
    cell, words = layer.cell, []
    if layer.kind.startswith("conv"):
        words = [
            f"stride {cell.stride}", f"{cell.pad_mode} {cell.padding}", f"dilation {cell.dilation}"
        ]  # fmt: skip
    if getattr(cell, "has_bias", False):
        words.append("bias")
    activation = getattr(cell, "activation", None)
    if activation is not None:
        words.append(type(activation).__name__)
    return ", ".join(words)
