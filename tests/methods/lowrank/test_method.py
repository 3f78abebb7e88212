from __future__ import annotations

import json
from contextlib import nullcontext
from dataclasses import replace

import numpy as np
import pytest
from mindspore import nn

from ms_eff import models
from ms_eff.bench.counts import count, totals
from ms_eff.errors import PlanError
from ms_eff.methods.base import ModelContext
from ms_eff.methods.lowrank.method import LowRank
from ms_eff.methods.lowrank.profile import Conditions, LatencyProfile, write_profiles
from ms_eff.methods.lowrank.settings import LowRankSettings, make_settings
from ms_eff.methods.registry import method_class, settings_class
from tests.methods.lowrank.networks import Everything, images, randomise, run

CONTEXT = ModelContext((4, 8, 12, 12), None, None, True)


def test_the_registry_knows_it() -> None:
    assert method_class("lowrank") is LowRank
    assert settings_class("lowrank") is LowRankSettings


def test_networks_that_take_token_ids_are_counted_on_token_ids() -> None:
    network = models.build("gpt2", vocab=50, positions=16, dim=32, depth=1, heads=2)
    method = LowRank(LowRankSettings(macs=0.7))
    changed = method.change_model(network, ModelContext((4, 16), trained=True))
    before, after = (totals(count(n, (1, 16)))["macs"] for n in (network, changed))
    assert 0.6 * before < after <= 0.7 * before


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


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"plan": "nowhere.json"}, r"nowhere.json: cannot be read"),
        ({"ratio": 2.0, "rank_search": {"timer": "no.json"}}, r"no.json: cannot be read"),
    ],
)
def test_a_missing_file_is_noticed_at_start(settings, message) -> None:
    with pytest.raises(PlanError, match=message):
        LowRank(make_settings(settings)).check(nn.Dense(8, 8), CONTEXT)


def test_a_profile_of_another_precision_is_noticed_at_start(tmp_path) -> None:
    path = tmp_path / "board.json"
    write_profiles(path, [LatencyProfile(Conditions("board", "2.9.0", "float16", 4))])
    for objective, precision, fits in (
        ("train", "O2", True),
        ("train", "O0", False),
        ("infer", "O2", False),  # inference is in float32 whatever trained it
    ):
        search = {"timer": str(path), "objective": objective}
        method = LowRank(make_settings({"ratio": 2.0, "rank_search": search}))
        context = replace(CONTEXT, precision=precision)
        with nullcontext() if fits else pytest.raises(PlanError, match="no profile for any dev"):
            method.check(nn.Dense(8, 8), context)


def test_the_error_names_a_layer_that_was_asked_for() -> None:
    net = nn.SequentialCell(nn.Dense(64, 8), nn.Dense(8, 8))
    with pytest.raises(PlanError, match=r"none of 1 layers would be decomposed \('1': no rank"):
        LowRank(LowRankSettings(ratio=50.0, exclude=("0",))).change_model(
            net, ModelContext((1, 64))
        )


def test_a_run_that_would_train_the_dense_network_stops() -> None:
    method = LowRank(LowRankSettings(ratio=50.0))
    with pytest.raises(
        PlanError, match=r"none of 1 layers .*'': no rank makes it 50 times smaller"
    ):
        method.change_model(nn.Dense(8, 8), ModelContext((1, 8)))
