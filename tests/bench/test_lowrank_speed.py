"""A whole table at toy size, and the arithmetic of its bounds by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ms_eff.bench import lowrank_speed, lowrank_speed_row
from ms_eff.bench.lowrank_speed import Case
from ms_eff.bench.lowrank_speed_table import lines, met

SMALL = {"width": 8, "stem": "cifar", "num_classes": 10}


@pytest.mark.gate
def test_a_row_times_both_phases_and_knows_its_bounds() -> None:
    case = Case("resnet18", "x", {"ratio": 2.0}, (0, 0), freeze=True, args=SMALL)
    row = lowrank_speed_row.measure(case, batch=2, size=8, runs=3)
    assert row["decomposed"] == 17
    bound = row["macs"]["dense"] / row["macs"]["changed"]
    assert row["inference"]["bound"] == pytest.approx(bound)
    # of all work in training, a third at most is spared, that of the weights' gradients
    assert bound < row["training"]["bound"] < 1.5 * bound
    assert set(row["training"]["phases"]) == {"unfrozen", "outer", "inner"}
    assert row["inference"]["folded"]["speedup"]["median"] > 0
    assert 0 < row["training"]["limit"] < row["training"]["bound"]
    kernels = row["training"]["kernels_ms"]
    assert kernels["dense"]["Conv2D"] > 0
    json.dumps(row)


def test_the_limit_is_amdahls() -> None:
    kernels = {"dense": {"Conv2D": 60.0, "MatMul": 20.0, "ReLU": 20.0}, "changed": {}}
    assert lowrank_speed_row._limit(kernels, bound=2.0) == pytest.approx(100 / 60)


def _row(gain: float) -> dict[str, Any]:
    speedup = {"median": 1 + gain, "p10": 1.0, "p90": 2.0}
    part = {"speedup": speedup, "bound": 2.0, "share_of_bound": (1 + gain) / 2}
    return {
        "decomposed": 3,
        "params": {"dense": 200, "changed": 100},
        "macs": {"dense": 200, "changed": 150},
        "training": part,
        "inference": {**part, "folded": {**part, "speedup": {**speedup, "median": 1.55}}},
    }


def test_rows_are_kept_compared_and_printed(tmp_path: Path, monkeypatch, capsys) -> None:
    measured = []

    def fake(what: str, *_: Any) -> Any:
        measured.append(what)
        return _row(0.3 if len(measured) == 1 else 0.9)

    cases = [Case("resnet50", name, {"ratio": 2.0}, (40, 50), (6.0, 7.0)) for name in ("a", "b")]
    monkeypatch.setattr(lowrank_speed, "CASES", {case.key: case for case in cases})
    monkeypatch.setattr(lowrank_speed, "measured_apart", fake)
    path = tmp_path / "speed.json"
    assert lowrank_speed.main(["--output", str(path), "--only", "b"]) == 1
    assert lowrank_speed.main(["--output", str(path)]) == 1  # the kept row is short of its demand
    assert measured == ["resnet50: b", "resnet50: a"]
    rows = json.loads(path.read_text())["rows"]
    assert [met(row) for row in rows.values()] == [
        {"training": True, "inference": True},
        {"training": False, "inference": True},  # with norms folded
    ]
    table = lines(rows)
    assert table[3].startswith("| resnet50 | b | 3 | -50.0 | -25.0 | +30 (+0 to +100) |")
    assert "65 % of +100 | +40: NOT met | +30 (+0 to +100) | +55 (+0 to +100) |" in table[3]
    assert "+6.0 / +7.0" in capsys.readouterr().out
