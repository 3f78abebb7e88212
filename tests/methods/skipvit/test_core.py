from __future__ import annotations

import json

import pytest

from ms_eff import models
from ms_eff.bench.counts import count, totals
from ms_eff.errors import PlanError
from ms_eff.methods.skipvit import Route, SkipViTSettings, apply_skipvit, ideal_gain

# of the method's page, for m reduced blocks of ViT-S/16 at 224 and 55 % of the patches, in %
GAINS = {1: 4.90, 2: 10.31, 3: 16.30, 6: 38.94}


@pytest.mark.gate
@pytest.mark.parametrize("m", [3, 6])
def test_counted_macs_give_the_gain_of_the_table(m) -> None:
    network = models.build("vit_small_patch16")
    dense = totals(count(network, (1, 3, 224, 224)))
    settings = SkipViTSettings(score_block=10 - m, merge_block=11)
    routed, route = apply_skipvit(network, settings)
    found = totals(count(routed, (1, 3, 224, 224)))
    assert (route.dropped, route.kept) == (108, 88)
    assert found["params"] == dense["params"] == 22_050_664
    assert 100 * (dense["macs"] / found["macs"] - 1) == pytest.approx(GAINS[m], abs=0.005)
    assert dense["macs"] / found["macs"] - 1 == ideal_gain(dense["macs"], m, 197, 108, 384)


def test_plan_goes_to_json_and_back() -> None:
    route = Route(16, 9, 0, 3, "random", False, seed=4)
    assert Route.from_json(json.loads(json.dumps(route.to_json()))) == route


@pytest.mark.parametrize(
    ("change", "message"),
    [({"format": "x"}, "format = 'x'"), ({"kept": 3}, "not a route .*kept")],
)
def test_foreign_plan_is_refused(change, message) -> None:
    with pytest.raises(PlanError, match=message):
        Route.from_json(Route(16, 9, 0, 3, "random", False).to_json() | change)
