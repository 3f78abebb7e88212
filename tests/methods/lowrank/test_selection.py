from __future__ import annotations

import json
from pathlib import Path

import mindspore as ms
import numpy as np
import pytest
from mindspore import Tensor, nn

import ms_eff
from ms_eff.bench.layers import layer_work, network_work
from ms_eff.errors import PlanError
from ms_eff.methods.base import ModelContext
from ms_eff.methods.lowrank import target_plan
from ms_eff.methods.lowrank.cells import LowRankCell
from ms_eff.methods.lowrank.layers import find_layers
from ms_eff.methods.lowrank.method import LowRank
from ms_eff.methods.lowrank.profile import Conditions, Curve, LatencyProfile, write_profiles
from ms_eff.methods.lowrank.rank_search import Timing
from ms_eff.methods.lowrank.settings import make_settings
from ms_eff.methods.lowrank.whole_times import NetworkTimes
from tests.methods.lowrank.networks import images, run

SHAPE = (2, 32)


class ByWidth:
    """Wide layers gain half, narrow ones lose."""

    def times(self, layer, work, ranks, objective):
        share = 0.5 if work.shape[0] == 48 else 1.5
        return Timing(10.0), {rank: Timing(10.0 * share) for rank in ranks}


def network() -> nn.Cell:
    return nn.SequentialCell(
        nn.Dense(32, 48), nn.Dense(48, 32), nn.Dense(32, 48), nn.Dense(48, 32)
    ).set_train(False)


def decomposed(net: nn.Cell) -> int:
    return sum(isinstance(cell, LowRankCell) for _, cell in net.cells_and_names())


def select(net: nn.Cell, saved: float):
    def whole_timer(networks):
        return [40.0 - saved * decomposed(candidate) for candidate in networks]

    return ms_eff.select_layers(
        net, ratio=1.5, input_shape=SHAPE, timer=ByWidth(), whole_timer=whole_timer
    )


def test_equal_layers_that_gain_are_decomposed_together():
    net = network()
    changed, plan, found = select(net, saved=5.0)
    assert [layer.name for layer in plan.layers] == ["0", "2"]
    (group,) = found.kept
    assert (group.layers, group.multiplicity, group.gain_ms) == (("0", "2"), 2, 10.0)
    assert (found.dense_ms, found.predicted_ms, found.measured_ms) == (40.0, 30.0, 30.0)
    assert (decomposed(changed), decomposed(net)) == (2, 0)


def test_if_nothing_helps_the_original_object_comes_back():
    net = network()
    before = run(net, images(*SHAPE))
    same, plan, found = select(net, saved=-1.0)
    assert same is net
    assert (plan.layers, found.kept) == ((), ())
    np.testing.assert_array_equal(run(same, images(*SHAPE)), before)


def test_by_the_wall_clock_the_result_is_measured_and_consistent():
    net = nn.SequentialCell(nn.Dense(256, 256), nn.Dense(256, 10))
    search = {"runs": 3, "warmup": 1, "floor": 1.0}
    changed, plan, found = ms_eff.select_layers(
        net, ratio=16.0, exclude=["1"], input_shape=(64, 256), rank_search=search
    )
    assert (changed is net) == (not plan.layers)
    if found.kept:
        assert found.measured_ms < found.dense_ms


@pytest.mark.gate
def test_a_config_targets_and_the_report_says_why() -> None:
    net = nn.SequentialCell(nn.Dense(256, 256), nn.Dense(256, 10))
    wishes = {
        "ratio": 16.0,
        "exclude": ["1"],
        "target": {"tolerance": 0.999},  # no network is that much faster: all is dropped
        "rank_search": {"runs": 3, "warmup": 1, "floor": 1.0},
    }
    same, plan, report = ms_eff.apply_lowrank(net, wishes, input_shape=(64, 256))
    assert same is net
    assert plan.layers == ()
    assert "ORG" in report[0].reason
    assert report[0].search is not None
    with pytest.raises(PlanError, match=r"none of 1 layers would be decomposed \('0': ORG"):
        LowRank(make_settings(wishes)).change_model(net, ModelContext((64, 256)))


def board(path: Path, whole: Timing | None) -> Path:
    """Write a profile of another device, on which wide layers gain half and narrow ones lose."""
    net = network()
    layers = find_layers(net)
    conditions = Conditions("Ascend910", "2.9.0", "float32", 2)
    profile = LatencyProfile(conditions)
    for layer in layers:
        ((work, _),) = layer_work(net, [layer], SHAPE)[layer.name].mix
        dense, ranks = ByWidth().times(layer, work, range(1, 33), "infer")
        profile.curves["infer", work] = Curve(dense, ranks)
    if whole is not None:
        profile.networks["infer", network_work(net, layers, SHAPE)] = whole
    write_profiles(path, [profile])
    return path


def test_a_profile_of_another_device_is_not_mixed_with_this_ones_time(tmp_path, monkeypatch):
    def never(*_):
        raise RuntimeError("timed here")

    monkeypatch.setattr(target_plan, "wall_timer", never)
    wishes = {"ratio": 1.5, "rank_search": {"timer": str(board(tmp_path / "a.json", None))}}
    changed, plan, found = ms_eff.select_layers(network(), wishes, input_shape=SHAPE)
    assert [layer.name for layer in plan.layers] == ["0", "2"]
    assert (decomposed(changed), found.dense_ms, found.measured_ms) == (2, None, None)
    # where the profile knows the whole network, a gain lost in its noise is none
    wishes["rank_search"] = {"timer": str(board(tmp_path / "b.json", Timing(1000.0)))}
    net = network()
    same, _, found = ms_eff.select_layers(net, wishes, input_shape=SHAPE)
    assert (same is net, found.dense_ms, found.measured_ms) == (True, 1000.0, None)


def test_the_report_says_who_knew_the_whole_networks_time(tmp_path):
    path = board(tmp_path / "board.json", Timing(40.0))
    method = LowRank(
        make_settings({"ratio": 1.5, "target": True, "rank_search": {"timer": str(path)}})
    )
    method.change_model(network(), ModelContext(SHAPE))
    assert json.loads(json.dumps(method.report))["network"] == {
        "objective": "infer",
        "source": "latency profile (Ascend910, MindSpore 2.9.0, float32, batch 2, timer wall)",
        "dense_ms": 40.0,
        "predicted_ms": 30.0,
        "measured_ms": None,
    }


def test_no_more_calibration_data_are_read_than_are_looked_at():
    read = []

    def batches():
        for i in range(100):
            read.append(i)
            yield np.random.default_rng(i).standard_normal(SHAPE).astype(np.float32)

    ms_eff.select_layers(
        network(), ratio=1.5, criterion="activation", calibration_samples=5, input_shape=SHAPE,
        timer=ByWidth(), whole_timer=lambda nets: [40.0 - 5.0 * decomposed(n) for n in nets],
        calibration=batches(),
    )  # fmt: skip
    assert read == [0, 1, 2]  # three batches of two


class Idle(nn.Cell):
    """Has a layer that its forward never calls."""

    def __init__(self) -> None:
        super().__init__()
        self.used = nn.Dense(512, 512)
        self.idle = nn.Dense(512, 512)

    def construct(self, x: Tensor) -> Tensor:
        return self.used(x)


@pytest.mark.parametrize(
    "wishes",
    [
        {"ratio": 4.0, "target": True, "rank_search": {"timer": "model", "device": "ascend310"}},
        {"ratio": 4.0, "rank_search": {"timer": "model", "device": "ascend310"}},
        {"latency": 0.99, "rank_search": {"timer": "model", "device": "ascend310"}},
        {"macs": 0.9},
    ],
)
def test_a_layer_that_is_never_called_says_so(wishes):
    net, _, report = ms_eff.apply_lowrank(Idle(), wishes, input_shape=(4096, 512))
    assert decomposed(net) == 1
    assert report[1].reason == "the forward never calls it"


class Asked:
    """Notes which layers each network that is timed has decomposed."""

    def __init__(self, times) -> None:
        self.times, self.seen = times, []

    def __call__(self, networks):
        found = []
        for net in networks:
            names = [n for n, cell in net.cells_and_names() if isinstance(cell, LowRankCell)]
            found.append(tuple(names))
        self.seen.append(found)
        return [self.times(names) for names in found]


def test_candidates_are_timed_beside_the_original_and_drift_cancels():
    drift = iter([1.0, 2.0, 3.0, 4.0])

    class Drifting(Asked):
        def __call__(self, networks):
            factor = next(drift)
            return [factor * ms for ms in super().__call__(networks)]

    timer = Drifting(lambda names: 40.0 - 5.0 * len(names))
    _, plan, found = ms_eff.select_layers(
        network(), ratio=1.5, input_shape=SHAPE, timer=ByWidth(), whole_timer=timer
    )
    assert timer.seen == [[()], [(), ("0", "2")]]
    # in the first round's unit, whatever the machine did in the second
    assert (found.dense_ms, found.measured_ms) == (40.0, 30.0)
    assert plan.settings == {"ratio": 1.5}


def test_the_share_is_one_of_the_layers_looked_at():
    for share, kept in ((0.5, ["0", "2"]), (0.49, []), (1.0, ["0", "2"])):
        _, plan, found = ms_eff.select_layers(
            network(), ratio=1.5, target={"share": share}, input_shape=SHAPE, timer=ByWidth(),
            whole_timer=Asked(lambda names: 40.0 - 5.0 * len(names)),
        )  # fmt: skip
        assert [entry.name for entry in plan.layers] == kept
        if not kept:  # one of four layers is wanted, and they come in pairs
            assert "at most 1 layers" in dict(found.dropped)[found.dropped[-1][0]]


def test_threshold_and_tolerance_are_those_of_the_settings():
    def chosen(**wishes):
        timer = Asked(lambda names: 40.0 - 5.0 * len(names))
        return ms_eff.select_layers(
            network(), ratio=1.5, target=wishes, input_shape=SHAPE, timer=ByWidth(),
            whole_timer=timer,
        )[1].layers  # fmt: skip

    assert chosen(threshold=0.49)
    assert not chosen(threshold=0.5)  # just half is gained
    assert chosen(tolerance=0.24)
    assert not chosen(tolerance=0.25)  # 10 of 40 ms


def test_layers_that_are_dropped_stay_in_the_report_with_the_reason():
    planned, found, _ = target_plan.targeted_plan(
        network(), make_settings({"ratio": 1.5, "target": True}), SHAPE, ms.float32, ByWidth(),
        Asked(lambda names: 40.0 - 5.0 * len(names)),
    )  # fmt: skip
    assert {name: choice.rank is None for name, choice in found.items()} == {
        "0": False, "1": True, "2": False, "3": True,
    }  # fmt: skip
    assert set(planned.skipped) == {"1", "3"}
    assert all(why.startswith("ORG: at rank") for why in planned.skipped.values())
    assert planned.whole == NetworkTimes("infer", "measured here", 40.0, 30.0, 30.0)
