from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ms_eff.errors import PlanError
from ms_eff.methods.lowrank.plan import LayerPlan, LowRankPlan

PLAN = LowRankPlan(
    (
        LayerPlan("layer1.0.conv2", "conv", (64, 32, 3, 3), (16, 24)),
        LayerPlan("layer1.0.conv1", "conv1x1", (32, 64, 1, 1), (8,)),
        LayerPlan("fc", "dense", (10, 64), (4,)),
        LayerPlan("words", "embedding", (1000, 64), (16,)),
    ),
    {"ratio": 2.0},
)


def test_a_saved_plan_comes_back(tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    PLAN.save(path)
    loaded = LowRankPlan.load(path)
    assert loaded == PLAN
    assert loaded.settings == {"ratio": 2.0}


def test_a_plan_reads_well() -> None:
    assert PLAN.to_json()["layers"][0] == {
        "name": "layer1.0.conv2",
        "kind": "conv",
        "shape": [64, 32, 3, 3],
        "rank": [16, 24],
    }
    assert PLAN.to_json()["layers"][2]["rank"] == 4


@pytest.mark.parametrize(
    ("kind", "shape", "rank"),
    [
        ("dense", (10, 64), (11,)),
        ("dense", (10, 64), (0,)),
        ("dense", (10, 64), (4, 4)),
        ("conv", (64, 32, 3, 3), (33, 1)),
        ("conv", (64, 32, 3, 3), (1, 65)),
        ("conv", (64, 32, 3, 3), (8,)),
        ("embedding", (1000, 64), (65,)),
    ],
)
def test_a_rank_above_the_matrix_is_an_error(kind: str, shape: tuple, rank: tuple) -> None:
    with pytest.raises(PlanError, match=r"layer 'x': rank .* does not fit its .* at most"):
        LayerPlan("x", kind, shape, rank)


def test_full_rank_is_allowed() -> None:
    assert LayerPlan("x", "conv", (64, 32, 3, 3), (32, 64)).rank == (32, 64)


def test_a_layer_stands_in_a_plan_once() -> None:
    with pytest.raises(PlanError, match="layer 'fc' stands in it twice"):
        LowRankPlan((PLAN.layers[2], PLAN.layers[2]))


def changed(**changes: Any) -> dict[str, Any]:
    layer = {**PLAN.to_json()["layers"][2], **changes}
    return {**PLAN.to_json(), "layers": [{k: v for k, v in layer.items() if v is not None}]}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([], r"p.json: a mapping is expected, found list"),
        ({"layers": []}, r"p.json: key 'format' is missing"),
        ({**PLAN.to_json(), "format": "x/2"}, r"p.json: format 'x/2' is not"),
        ({**PLAN.to_json(), "layer": []}, r"unknown key 'layer' \(did you mean 'layers'\?\)"),
        ({**PLAN.to_json(), "layers": {}}, r"p.json: layers: a list is expected"),
        ({**PLAN.to_json(), "layers": [3]}, r"p.json: a layer: a mapping is expected"),
        ({**PLAN.to_json(), "settings": 3}, r"p.json: settings: a mapping is expected"),
        (changed(rank=None), r"p.json: layer 'fc': key 'rank' is missing"),
        (changed(ranks=3), r"layer 'fc': unknown key 'ranks' \(did you mean 'rank'\?\)"),
        (changed(rank="4"), r"layer 'fc': rank = '4': whole numbers"),
        (changed(rank=2.5), r"layer 'fc': rank = 2.5: whole numbers"),
        (changed(rank=True), r"layer 'fc': rank = True: whole numbers"),
        (changed(rank=99), r"p.json: layer 'fc': rank 99 does not fit"),
        (changed(kind="densee"), r"unknown kind 'densee' \(did you mean 'dense'\?\)"),
        (changed(kind=3), r"name and kind are words"),
        (changed(shape=[10, 64, 1]), r"a dense weight has 2 axes"),
    ],
)
def test_a_damaged_plan_is_named(tmp_path: Path, values: Any, message: str) -> None:
    path = tmp_path / "p.json"
    path.write_text(json.dumps(values))
    with pytest.raises(PlanError, match=message) as caught:
        LowRankPlan.load(path)
    assert "\n" not in str(caught.value)


def test_unreadable_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(PlanError, match=r"absent.json: cannot be read"):
        LowRankPlan.load(tmp_path / "absent.json")
    (tmp_path / "half.json").write_text('{"format": "ms')
    with pytest.raises(PlanError, match=r"half.json: not valid JSON"):
        LowRankPlan.load(tmp_path / "half.json")
    with pytest.raises(PlanError, match="cannot be written"):
        PLAN.save(tmp_path / "no" / "plan.json")
