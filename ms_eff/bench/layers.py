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
from ms_eff.methods.lowrank.cost_model import LayerWork, Objective
from ms_eff.methods.lowrank.factors import empty_like
from ms_eff.methods.lowrank.layers import Layer
from ms_eff.methods.lowrank.plan import max_ranks
from ms_eff.methods.lowrank.rank_search import Timing

__all__ = ["layer_work", "measure_layer"]


def layer_work(
    network: nn.Cell, layers: Sequence[Layer], input_shape: Sequence[int], dtype: Any = ms.float32
) -> dict[str, tuple[LayerWork, int]]:
    """Return what each layer is called on, and how often; layers never called are left out.

    A layer that meets several shapes is described by its first call.

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
            inputs, output = seen[0]
            work = LayerWork(layer.kind, layer.shape, inputs[0], output, _geometry(layer))
            found[layer.name] = (work, len(seen))
    return found


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
    """
    modes = len(max_ranks(layer.kind, layer.shape))
    cells: dict[int, nn.Cell] = {0: copy.deepcopy(layer.cell)}  # 0 is the layer itself
    cells |= {rank: empty_like(layer, (rank,) * modes) for rank in ranks}
    rng = np.random.default_rng(0)
    inputs = _inputs(work, layer, rng)
    candidates = {rank: _work(cell, inputs, objective, rng) for rank, cell in cells.items()}
    samples = _samples(candidates, timer or WallTimer())
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
    return Tensor(rng.standard_normal(work.input).astype(np.float32))


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
