from __future__ import annotations

import json

import numpy as np
import pytest
from mindspore import nn

from ms_eff.errors import PlanError
from ms_eff.methods.base import ModelContext
from ms_eff.methods.lowrank.method import LowRank
from ms_eff.methods.lowrank.settings import LowRankSettings
from ms_eff.methods.registry import method_class, settings_class
from tests.methods.lowrank.networks import Everything, images, randomise, run

CONTEXT = ModelContext((4, 8, 12, 12), None, None, True)


def test_the_registry_knows_it() -> None:
    assert method_class("lowrank") is LowRank
    assert settings_class("lowrank") is LowRankSettings


def test_plan_and_report_are_json_and_rebuild_the_network() -> None:
    method = LowRank(LowRankSettings(macs=0.6))
    changed = method.change_model(randomise(Everything()), CONTEXT)
    plan, report = json.loads(json.dumps([method.plan, method.report]))
    again = LowRank.rebuild(Everything(), plan)
    assert report["decomposed"] + report["skipped"] == len(report["layers"]) == 7
    assert report["layers"][0]["macs_before"] == 16 * 8 * 9 * 36
    by_name = {p.name: p for p in changed.get_parameters()}
    for parameter in again.get_parameters():
        parameter.set_data(by_name.pop(parameter.name))
    assert not by_name
    x = images(2, 8, 12, 12)
    np.testing.assert_array_equal(run(again.set_train(False), x), run(changed.set_train(False), x))


def test_a_run_that_would_train_the_dense_network_stops() -> None:
    method = LowRank(LowRankSettings(ratio=50.0))
    with pytest.raises(
        PlanError, match=r"none of 1 layers .*'': no rank makes it 50 times smaller"
    ):
        method.change_model(nn.Dense(8, 8), ModelContext((1, 8)))
