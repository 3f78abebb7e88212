from __future__ import annotations

from fractions import Fraction

import mindspore as ms
import numpy as np
import pytest
from mindspore import Tensor, nn

from ms_eff.bench.layers import layer_dtype, layer_work, measure_layer, network_dtype
from ms_eff.bench.timers import WallTimer
from ms_eff.errors import SetupError
from ms_eff.methods.lowrank.cost_model import LayerCalls, LayerWork
from ms_eff.methods.lowrank.layers import find_layers


class Steps:
    """A timer that runs the work once and hands out known durations."""

    def __init__(self) -> None:
        self.calls = 0

    def samples(self, work):
        assert work().shape == (1,)  # compiles and runs
        self.calls += 1
        return [self.calls + 0.0, self.calls + 1.0, self.calls + 2.0]


def only(calls: LayerCalls) -> LayerWork:
    """Return the work of a layer whose calls are all alike."""
    ((work, share),) = calls.mix
    assert share == 1
    return work


class Pyramid(nn.Cell):
    """One head at two sizes, and once more at the larger; another head that nobody calls."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Dense(4, 4)
        self.idle = nn.Dense(4, 4)

    def construct(self, x: Tensor) -> Tensor:
        return self.head(self.head(x))[:2] + self.head(x[:2])


def network() -> nn.Cell:
    return nn.SequentialCell(nn.Conv2d(4, 8, 3, 2), nn.ReLU(), nn.Flatten(), nn.Dense(32, 5))


def test_layers_are_described_by_the_shapes_they_meet():
    net = network()
    works = layer_work(net, find_layers(net), (3, 4, 4, 4))
    conv = only(works["0"])
    assert (conv.input, conv.output, works["0"].calls) == ((3, 4, 4, 4), (3, 8, 2, 2), 1)
    assert "stride (2, 2)" in conv.geometry
    dense = only(works["3"])
    assert (dense.input, dense.output) == ((3, 32), (3, 5))


@pytest.mark.gate
@pytest.mark.parametrize("objective", ["infer", "train"])
def test_each_candidate_is_timed_and_summarised(objective):
    net = network()
    layers, before = find_layers(net), net[0].weight.asnumpy().copy()
    works = layer_work(net, layers, (3, 4, 4, 4))
    for layer in layers:
        timer = Steps()
        dense, ranks = measure_layer(layer, only(works[layer.name]), [4, 2], objective, timer)
        assert [dense.median_ms, ranks[4].median_ms, ranks[2].median_ms] == [2.0, 3.0, 4.0]
        assert (dense.spread_ms, dense.runs) == (1.0, 3)
    np.testing.assert_array_equal(net[0].weight.asnumpy(), before)


@pytest.mark.gate
def test_an_embedding_is_fed_ids():
    net = nn.SequentialCell(nn.Embedding(30, 8))
    layer = find_layers(net)[0]
    work = only(layer_work(net, [layer], (2, 3), Tensor([1]).dtype)["0"])
    for objective in ("infer", "train"):
        _, ranks = measure_layer(layer, work, [4], objective, Steps())
        assert list(ranks) == [4]


def test_the_wall_clock_really_measures():
    net = nn.SequentialCell(nn.Dense(512, 512))
    layer = find_layers(net)[0]
    work = only(layer_work(net, [layer], (128, 512))["0"])
    dense, ranks = measure_layer(layer, work, [8], "infer", WallTimer(warmup=2, runs=5))
    assert dense.runs == ranks[8].runs == 5
    assert ranks[8].median_ms > 0
    assert dense.median_ms > 0


def test_rivals_share_an_injected_clock():
    ticks = iter(np.arange(0.0, 1000.0))  # every reading is one second later
    net = nn.SequentialCell(nn.Dense(8, 8))
    layer = find_layers(net)[0]
    work = only(layer_work(net, [layer], (2, 8))["0"])
    timer = WallTimer(warmup=0, runs=2, clock=lambda: float(next(ticks)))
    dense, ranks = measure_layer(layer, work, [2], "infer", timer)
    assert (dense.median_ms, ranks[2].median_ms) == (1000.0, 1000.0)


def test_a_layer_called_at_several_sizes_has_a_work_for_each() -> None:
    net = Pyramid()
    works = layer_work(net, find_layers(net), (6, 4))
    assert list(works) == ["head"]  # nobody calls the other
    assert works["head"].calls == 3
    found = {work.input: share for work, share in works["head"].mix}
    assert found == {(6, 4): Fraction(2, 3), (2, 4): Fraction(1, 3)}


def test_the_dtype_is_the_one_that_a_layer_computes_in() -> None:
    net = nn.SequentialCell(
        nn.Dense(4, 4), nn.Dense(4, 4).to_float(ms.float16), nn.Dense(4, 4, dtype=ms.float16)
    )
    layers = find_layers(net)
    assert [layer_dtype(layer) for layer in layers] == ["float32", "float16", "float16"]
    assert (network_dtype(layers), network_dtype(layers[1:])) == ("float16+float32", "float16")
    assert only(layer_work(net[1], find_layers(net[1]), (2, 4))[""]).dtype == "float16"


@pytest.mark.gate
@pytest.mark.parametrize("objective", ["infer", "train"])
def test_half_precision_layers_are_timed(objective) -> None:
    for cell in (nn.Conv2d(4, 8, 3).to_float(ms.float16), nn.Dense(4, 8, dtype=ms.float16)):
        (layer,) = find_layers(cell)
        shape = (2, 4, 5, 5) if layer.kind == "conv" else (2, 4)
        dtype = ms.float32 if layer.kind == "conv" else ms.float16
        work = only(layer_work(cell, [layer], shape, dtype)[""])
        assert work.dtype == "float16"
        assert list(measure_layer(layer, work, [2], objective, Steps())[1]) == [2]


def test_what_the_device_cannot_compute_in_is_named() -> None:
    cell = nn.Dense(4, 8).to_float(ms.bfloat16)
    (layer,) = find_layers(cell)
    work = LayerWork("dense", (8, 4), (2, 4), (2, 8), "", layer_dtype(layer))
    with pytest.raises(SetupError, match=r"does not run it in bfloat16.*search with timer: model"):
        measure_layer(layer, work, [2], "infer", Steps())
