from __future__ import annotations

import numpy as np
import pytest
from mindspore import nn

import ms_eff
from ms_eff.errors import PlanError
from ms_eff.methods.base import ModelContext
from ms_eff.methods.lowrank.cells import LowRankCell
from ms_eff.methods.lowrank.method import LowRank
from ms_eff.methods.lowrank.rank_search import Timing
from ms_eff.methods.lowrank.settings import make_settings
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
    with pytest.raises(PlanError, match="none of 2 layers would be decomposed"):
        LowRank(make_settings(wishes)).change_model(net, ModelContext((64, 256)))
