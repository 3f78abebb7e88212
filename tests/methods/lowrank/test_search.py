from __future__ import annotations

import json
import math
import time

import pytest
from mindspore import nn

import ms_eff
from ms_eff.errors import ConfigError, PlanError
from ms_eff.methods.base import ModelContext
from ms_eff.methods.lowrank.layer_timers import MeasuredLayers
from ms_eff.methods.lowrank.method import LowRank
from ms_eff.methods.lowrank.profile import Conditions, LatencyProfile, write_profiles
from ms_eff.methods.lowrank.rank_search import Timing
from ms_eff.methods.lowrank.settings import make_settings
from tests.methods.lowrank.networks import randomise

INPUT = (4, 1, 16, 16)


class Table:
    """Times by formula; counts what it is asked."""

    def __init__(self, time_of, dense: float) -> None:
        self.time_of, self.dense, self.asked = time_of, dense, []

    def times(self, layer, work, ranks, objective):
        self.asked.append((work, tuple(ranks), objective))
        return Timing(self.dense), {rank: Timing(self.time_of(rank)) for rank in ranks}


def resnet() -> nn.Cell:
    return ms_eff.build_model("resnet18", stem="cifar", width=8, num_classes=10, in_channels=1)


def test_identical_layers_are_timed_once_and_get_the_same_rank():
    timer = Table(lambda rank: math.ceil(rank / 8), dense=100.0)
    plan, found = ms_eff.search_ranks(resnet(), ratio=1.5, input_shape=INPUT, timer=timer)
    works = [work for work, _, _ in timer.asked]
    assert len(works) == len(set(works)) < len(plan.layers)
    ranks = {layer.name: layer.rank for layer in plan.layers}
    assert ranks["layer1.0.conv1"] == ranks["layer1.1.conv2"]
    for name, choice in found.items():
        assert ranks[name] == (choice.rank,) * len(ranks[name])


def test_a_staircase_is_found_in_both_modes_of_a_convolution():
    net = nn.SequentialCell(nn.Conv2d(64, 64, 3))
    timer = Table(lambda rank: math.ceil(rank / 32), dense=9.0)
    for fast in (True, False):
        plan, found = ms_eff.search_ranks(
            net, ratio=2.0, rank_search={"fast": fast}, input_shape=(1, 64, 4, 4), timer=timer
        )
        assert found["0"].start == 38  # the papers' rank, and the one they find below it
        assert plan.layers[0].rank == (32, 32)


def test_layers_that_would_not_be_faster_stay_and_say_why():
    timer = Table(float, dense=0.5)
    plan, found = ms_eff.search_ranks(resnet(), ratio=2.0, input_shape=INPUT, timer=timer)
    assert plan.layers == ()
    assert all(choice.rank is None and "ORG" in choice.why for choice in found.values())


def test_unequal_modes_start_at_no_more_weights():
    net = nn.SequentialCell(nn.Conv2d(16, 32, 3))
    timer = Table(lambda rank: 1.0, dense=9.0)
    _, found = ms_eff.search_ranks(
        net, ranks={"0": [8, 16]}, input_shape=(1, 16, 4, 4), timer=timer
    )
    r = found["0"].start
    wanted = 16 * 8 + 9 * 8 * 16 + 16 * 32
    assert 48 * r + 9 * r * r <= wanted < 48 * (r + 1) + 9 * (r + 1) ** 2


@pytest.mark.gate
def test_the_model_timer_gives_a_plan_that_the_method_carries_out():
    settings = make_settings(
        {"ratio": 2.0, "rank_search": {"timer": "model", "device": "ascend310"}}
    )
    method = LowRank(settings)
    net = randomise(ms_eff.build_model("resnet18", stem="cifar", width=32, num_classes=10))
    method.change_model(net, ModelContext((64, 3, 32, 32)))
    report = json.loads(json.dumps(method.report))
    searched = [row for row in report["layers"] if row["search"]]
    assert {row["decomposed"] for row in searched} == {True, False}
    for row in searched:
        search = row["search"]
        times = {point["rank"]: point["median_ms"] for point in search["curve"]}
        assert min(times) >= 0.7 * search["start"]
        if row["decomposed"]:
            assert times[row["rank"][0]] < search["dense"]["median_ms"]
        else:
            assert row["reason"].startswith("ORG")


def test_by_the_model_launches_outweigh_a_tiny_network():
    search = {"timer": "model"}
    plan, found = ms_eff.search_ranks(resnet(), ratio=2.0, rank_search=search, input_shape=INPUT)
    assert plan.layers == ()
    assert len(found) == 17  # 16 convolutions and fc


def test_a_recorded_profile_drives_the_same_search_elsewhere(tmp_path):
    class Clockwork:
        runs = 0

        def samples(self, work):
            self.runs += 1
            return [1.0 / self.runs] * 3

    net = nn.SequentialCell(nn.Dense(32, 48), nn.Dense(48, 32))
    shape = (2, 32)
    profile = LatencyProfile(Conditions("board", "2.9.0", "float32", 2))
    here, found = ms_eff.search_ranks(
        net, ratio=1.2, input_shape=shape, timer=MeasuredLayers(Clockwork(), profile)
    )
    path = tmp_path / "board.json"
    write_profiles(path, [profile])
    search = {"timer": str(path), "device": "board"}
    there, again = ms_eff.search_ranks(net, ratio=1.2, input_shape=shape, rank_search=search)
    assert (there, again) == (here, found)
    with pytest.raises(PlanError, match="no profile for board, float32, batch 3"):
        ms_eff.search_ranks(net, ratio=1.2, input_shape=(3, 32), rank_search=search)
    other = nn.SequentialCell(nn.Dense(32, 8))
    with pytest.raises(PlanError, match="it has no layer 'dense 8x32 on 2x32"):
        ms_eff.search_ranks(other, ratio=1.2, input_shape=shape, rank_search=search)


def test_a_layer_called_at_two_sizes_costs_what_its_calls_cost_together():
    class Twice(nn.Cell):
        def __init__(self) -> None:
            super().__init__()
            self.head = nn.Dense(64, 64)

        def construct(self, x):
            return self.head(x)[:1] + self.head(x[:1])

    class BySamples:
        def times(self, layer, work, ranks, objective):
            samples = float(work.input[0])  # long calls gain, short ones lose more
            gains = 1.0 if samples > 1 else -5.0
            return Timing(samples), {rank: Timing(samples - gains) for rank in ranks}

    _, found = ms_eff.search_ranks(Twice(), ratio=2.0, input_shape=(9, 64), timer=BySamples())
    assert (found["head"].rank, found["head"].dense.median_ms) == (None, 5.0)
    assert {timing.median_ms for _, timing in found["head"].curve} == {7.0}


def test_in_mixed_precision_the_half_precision_layer_is_timed():
    net = nn.SequentialCell(nn.Dense(64, 64), nn.BatchNorm1d(64))
    timer = Table(lambda rank: 1.0, dense=9.0)
    for level, dtype in (("O0", "float32"), ("O2", "float16")):
        ms_eff.search_ranks(net, ratio=2.0, input_shape=(2, 64), timer=timer, precision=level)
        assert timer.asked[-1][0].dtype == dtype
    assert net[0].get_flags().get("fp16") is None  # the network itself stays as it was


def test_equal_layers_with_other_start_ranks_add_to_one_curve():
    class Clock:
        def samples(self, work):
            return [1.0] * 3

    net = nn.SequentialCell(nn.Dense(64, 64), nn.Dense(64, 64))
    profile = LatencyProfile(Conditions("board", "2.9.0", "float32", 2))
    timer = MeasuredLayers(Clock(), profile)
    ms_eff.search_ranks(net, ranks={"0": 30, "1": 11}, input_shape=(2, 64), timer=timer)
    ((_, curve),) = profile.curves.items()
    assert {30, 11} <= set(curve.ranks)


@pytest.mark.parametrize("other", [{"merge": 0.5}, {"ratio": 1.5, "branches": 2}])
def test_what_cannot_be_searched_is_refused_by_name(other):
    with pytest.raises(ConfigError, match=r"rank_search times single layers, not (merge|branches)"):
        ms_eff.search_ranks(nn.SequentialCell(nn.Conv2d(8, 8, 3)), other, input_shape=(1, 8, 4, 4))


def test_mistakes_are_named():
    net = nn.SequentialCell(nn.Dense(32, 32))
    with pytest.raises(ConfigError, match=r"'walls' is no timer \(did you mean 'wall'\?\); known"):
        make_settings({"ratio": 2.0, "rank_search": {"timer": "walls"}})
    with pytest.raises(ConfigError, match="found ratio and latency"):
        make_settings({"ratio": 2.0, "budget": {"latency": 0.5}})
    with pytest.raises(ConfigError, match="budget: latencies is given; name one of params, macs"):
        make_settings({"budget": {"latencies": 0.5}})
    with pytest.raises(ConfigError, match="goes by measured gains already; drop target"):
        make_settings({"latency": 0.5, "target": True})
    with pytest.raises(ConfigError, match="device 'b' has no model; known: ascend910"):
        make_settings({"ratio": 2.0, "rank_search": {"timer": "model", "device": "b"}})
    with pytest.raises(ConfigError, match="rank_search: needs the network's input"):
        ms_eff.apply_lowrank(net, ratio=2.0, rank_search={})
    with pytest.raises(ConfigError, match=r"search_ranks: target .* call ms_eff.select_layers"):
        ms_eff.search_ranks(net, ratio=2.0, target=True, input_shape=(1, 32))
    with pytest.raises(ConfigError, match="its ranks are final"):
        ms_eff.search_ranks(net, plan="p.json", input_shape=(1, 32))


@pytest.mark.gate
def test_the_profiler_times_layers_too() -> None:
    """No order of the times is asked for: three runs on a busy machine do not tell one."""
    net = nn.SequentialCell(nn.Dense(1024, 1024))
    search = {"timer": "profiler", "runs": 3, "warmup": 1, "floor": 0.9}
    began = time.perf_counter()
    plan, found = ms_eff.search_ranks(net, ratio=8.0, rank_search=search, input_shape=(64, 1024))
    passed_ms = 1e3 * (time.perf_counter() - began)
    timings = [found["0"].dense, *(timing for _, timing in found["0"].curve)]
    assert len(timings) >= 2  # dense, and one rank at least
    assert all(timing.runs == 3 and timing.median_ms > 0 for timing in timings)
    assert sum(timing.median_ms for timing in timings) < passed_ms
    assert len(plan.layers) == (found["0"].rank is not None)
