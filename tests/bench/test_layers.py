from __future__ import annotations

import numpy as np
import pytest
from mindspore import Tensor, nn

from ms_eff.bench.layers import layer_work, measure_layer
from ms_eff.bench.timers import WallTimer
from ms_eff.methods.lowrank.layers import find_layers


class Steps:
    """A timer that runs the work once and hands out known durations."""

    def __init__(self) -> None:
        self.calls = 0

    def samples(self, work):
        assert work().shape == (1,)  # compiles and runs
        self.calls += 1
        return [self.calls + 0.0, self.calls + 1.0, self.calls + 2.0]


def network() -> nn.Cell:
    return nn.SequentialCell(nn.Conv2d(4, 8, 3, 2), nn.ReLU(), nn.Flatten(), nn.Dense(32, 5))


def test_layers_are_described_by_the_shapes_they_meet():
    net = network()
    works = layer_work(net, find_layers(net), (3, 4, 4, 4))
    conv, times = works["0"]
    assert (conv.input, conv.output, times) == ((3, 4, 4, 4), (3, 8, 2, 2), 1)
    assert "stride (2, 2)" in conv.geometry
    dense, _ = works["3"]
    assert (dense.input, dense.output) == ((3, 32), (3, 5))


@pytest.mark.parametrize("objective", ["infer", "train"])
def test_each_candidate_is_timed_and_summarised(objective):
    net = network()
    layers, before = find_layers(net), net[0].weight.asnumpy().copy()
    works = layer_work(net, layers, (3, 4, 4, 4))
    for layer in layers:
        timer = Steps()
        dense, ranks = measure_layer(layer, works[layer.name][0], [4, 2], objective, timer)
        assert [dense.median_ms, ranks[4].median_ms, ranks[2].median_ms] == [2.0, 3.0, 4.0]
        assert (dense.spread_ms, dense.runs) == (1.0, 3)
    np.testing.assert_array_equal(net[0].weight.asnumpy(), before)


def test_an_embedding_is_fed_ids():
    net = nn.SequentialCell(nn.Embedding(30, 8))
    layer = find_layers(net)[0]
    work, _ = layer_work(net, [layer], (2, 3), Tensor([1]).dtype)["0"]
    for objective in ("infer", "train"):
        _, ranks = measure_layer(layer, work, [4], objective, Steps())
        assert list(ranks) == [4]


def test_the_wall_clock_really_measures():
    net = nn.SequentialCell(nn.Dense(512, 512))
    layer = find_layers(net)[0]
    work, _ = layer_work(net, [layer], (128, 512))["0"]
    dense, ranks = measure_layer(layer, work, [8], "infer", WallTimer(warmup=2, runs=5))
    assert dense.runs == ranks[8].runs == 5
    assert ranks[8].median_ms > 0
    assert dense.median_ms > 0


def test_rivals_share_an_injected_clock():
    ticks = iter(np.arange(0.0, 1000.0))  # every reading is one second later
    net = nn.SequentialCell(nn.Dense(8, 8))
    layer = find_layers(net)[0]
    work, _ = layer_work(net, [layer], (2, 8))["0"]
    timer = WallTimer(warmup=0, runs=2, clock=lambda: float(next(ticks)))
    dense, ranks = measure_layer(layer, work, [2], "infer", timer)
    assert (dense.median_ms, ranks[2].median_ms) == (1000.0, 1000.0)
