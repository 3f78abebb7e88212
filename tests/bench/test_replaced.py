import numpy as np
from mindspore import nn

import ms_eff
from ms_eff.bench import replaced
from ms_eff.bench.timers import Comparison


def network():
    return nn.SequentialCell(
        nn.Conv2d(3, 16, 3, pad_mode="pad", padding=1),
        nn.ReLU(),
        nn.Conv2d(16, 16, 3, stride=2, pad_mode="pad", padding=1),
        nn.Conv2d(16, 16, 3, stride=1, pad_mode="pad", padding=1),
        nn.Conv2d(16, 16, 3, stride=1, pad_mode="pad", padding=1),
    )


def test_each_layer_is_timed_on_the_shape_it_sees_and_equal_ones_once(monkeypatch):
    before = network()
    after, _, _ = ms_eff.apply_lowrank(before, ratio=2.0, include=["2", "3", "4"])
    asked = []

    def fake(pair, shape, kind, warmup, runs):
        assert type(pair["before"]).__name__ == "Conv2d"
        assert type(pair["after"]).__name__ != "Conv2d"
        asked.append((shape, kind, warmup, runs))
        return Comparison({"before": [2.0, 4.0, 6.0], "after": [1.0, 1.0, 5.0]})

    monkeypatch.setattr(replaced, "compare_models", fake)
    found = replaced.layer_latencies(before, after, ["2", "3", "4"], (5, 3, 8, 8), warmup=1, runs=3)
    assert asked == [((5, 16, 8, 8), "forward", 1, 3), ((5, 16, 4, 4), "forward", 1, 3)]
    assert found == dict.fromkeys(("2", "3", "4"), (4.0, 1.0))


def test_real_times_are_positive():
    before = network()
    after, _, _ = ms_eff.apply_lowrank(before, ratio=2.0, include=["2"])
    found = replaced.layer_latencies(before, after, ["2"], (2, 3, 8, 8), warmup=1, runs=3)
    assert np.all(np.array(found["2"]) > 0)


def test_layers_that_were_not_called_are_left_out():
    cell = network()
    assert replaced.layer_latencies(cell, cell, ["nothing"], (2, 3, 8, 8)) == {}


def test_a_replacement_that_takes_folded_clips_is_left_out():
    before = ms_eff.build_model("eco_lite_small", width=4, frames=4, image_size=16)
    after, _, report = ms_eff.apply_spatiotemporal(before, "tsm")
    names = [row.layer for row in report]
    assert replaced.layer_latencies(before, after, names, (1, 4, 3, 16, 16), runs=1) == {}
