from __future__ import annotations

import subprocess
import sys

import pytest

from ms_eff.errors import ConfigError
from ms_eff.methods.lowrank.settings import (
    RankSearch,
    make_settings,
    timed_precision,
    to_record,
)


@pytest.mark.parametrize(
    "given",
    [
        {"ratio": 1.5},
        {"params": 0.5},
        {"macs": 0.25},
        {"rank": 8},
        {"ranks": {"fc": 8, "*.conv2": [4, 6], "*": {"ratio": 3}}},
        {"vbmf": True},
        {"merge": 0.5},
        {"plan": "plan.json"},
    ],
)
def test_each_source_is_taken(given: dict) -> None:
    assert make_settings(given).source == next(iter(given))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"ratio": 0}, r"lowrank: ratio = 0: it should be greater than 1"),
        ({"ratio": 1.0}, r"ratio = 1.0: it should be greater than 1"),
        ({"params": 1.5}, r"params = 1.5: it should be less than 1"),
        ({"macs": 0}, r"macs = 0: it should be greater than 0"),
        ({"rank": 0}, r"rank = 0: it should be greater than or equal to 1"),
        ({"ranks": {"fc": 0}}, r"'fc': 0 is no rank"),
        ({"ranks": {"fc": {"ratio": 0.5}}}, r"'fc': \{'ratio': 0.5\} is no rank"),
        ({"ranks": {"fc": [1, 2, 3]}}, r"'fc': \[1, 2, 3\] is no rank"),
        ({"ranks": {"fc": True}}, r"'fc': True is no rank"),
        ({"ranks": {}}, r"ranks"),
        ({"ranks": 3}, r"ranks = 3"),
        ({"ratio": 2, "divisor": 0}, r"divisor = 0"),
        ({"ratio": 2, "layers": ["convv"]}, r"layers.0 = 'convv'"),
        ({}, r"name exactly one of ratio, params.*found none"),
        ({"vbmf": False}, r"found none"),
        ({"ratio": 2, "params": 0.5}, r"found ratio and params"),
        ({"plan": "p.json", "divisor": 16}, r"a plan is applied as written; drop divisor"),
        (
            {"budget": 0.7},
            r"budget = 0.7: name what it is a share of, one of params, macs, latency",
        ),
        (
            {"latency": 0.7, "rank_search": {"noise": 0.1, "floor": 0.5}},
            r"drop rank_search.floor, r",
        ),
        (
            {"ratio": 2, "rank_search": {"device": "b"}},
            r"device 'b' chooses among.*timer wall meas",
        ),
        ({"ratoi": 2}, r"unknown setting 'ratoi' \(did you mean 'ratio'\?\)"),
    ],
)
def test_mistakes_are_named_in_one_line(given: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        make_settings(given)
    assert "\n" not in str(caught.value)


def test_settings_and_plans_load_without_mindspore() -> None:
    code = (
        "import sys; from ms_eff.methods.lowrank import LowRankPlan, LowRankSettings; "
        "sys.exit('mindspore' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


@pytest.mark.parametrize("other", [{"ratio": 2.0, "branches": 2}, {"merge": 0.5}])
def test_rank_search_refuses_what_it_does_not_time(other):
    with pytest.raises(ConfigError, match="drop one of them"):
        make_settings({**other, "rank_search": {}})


def test_null_takes_any_setting_back() -> None:
    base = {"merge": 0.5, "merge_bias": False, "branches": 2, "include": ["layer4.*"]}
    child = {**base, **dict.fromkeys(base), "ratio": 2.0, "freeze": "static", "layers": ["conv"]}
    assert make_settings(child) == make_settings(
        {"ratio": 2.0, "freeze": "static", "layers": ["conv"]}
    )
    assert make_settings({"plan": "p.json", "divisor": None}).source == "plan"


def test_what_records_a_profile_is_what_will_read_it() -> None:
    search = {"timer": "board.json", "device": "Ascend310", "objective": "train", "runs": 50}
    found = to_record(make_settings({"latency": 0.5, "rank_search": search}))
    assert found.rank_search == RankSearch(objective="train", runs=50)
    assert to_record(make_settings({"ratio": 2.0, "target": True})).target is None
    with pytest.raises(ConfigError, match="not merge"):
        to_record(make_settings({"merge": 0.5}))


def test_training_is_timed_in_its_precision_and_inference_in_float32() -> None:
    for objective, level in (("train", "O2"), ("infer", "O0")):
        settings = make_settings({"ratio": 2.0, "rank_search": {"objective": objective}})
        assert timed_precision(settings, "O2") == level
    assert timed_precision(make_settings({"ratio": 2.0}), "O3") == "O0"
