"""Both tables at toy size, and which demands a row meets."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from ms_eff.bench import vit_variants, vit_variants_row
from ms_eff.bench.vit_variants import CASES, Case, Size
from ms_eff.bench.vit_variants_table import lines, met

SMALL = {"image_size": 8, "patch_size": 2, "dim": 12, "depth": 2, "heads": 6, "num_classes": 10}


@pytest.mark.gate
def test_a_row_knows_what_its_macs_promise() -> None:
    case = Case("skipvit", "1 block", {"score_block": 0, "merge_block": 2})
    row = vit_variants_row.measure(case, Size("vit", SMALL, 2), runs=2)
    assert row["params"]["changed"] == row["params"]["dense"]
    bound = row["macs"]["dense"] / row["macs"]["changed"]
    for kind in ("training", "inference"):
        assert row[kind]["bound"] == pytest.approx(bound)
        gain = row[kind]["speedup"]["median"] - 1
        assert row[kind]["share_of_gain"] == pytest.approx(gain / (bound - 1))
        assert row[kind]["dense"]["runs"] == row[kind]["changed"]["runs"] == 2
    json.dumps(row)


@pytest.mark.gate
def test_a_rival_is_measured_and_stands_in_the_table_of_skipping() -> None:
    case = Case("tome", "ToMe, 3 tokens a block", {"merged": 3})
    row = vit_variants_row.measure(case, Size("vit", SMALL, 2), runs=1)
    assert row["macs"]["changed"] < row["macs"]["dense"]
    (_, _, line) = lines([{**asdict(case), **row}])
    assert line.startswith("| ToMe, 3 tokens a block |")
    assert met({"method": "tome", "wanted": None, **row}) == {}
    assert CASES["tome: ToMe, 7 tokens a block"].settings == {"merged": 7}


def test_rows_are_the_papers() -> None:
    # qkv width = (#Q + 2 #KV) of 64 channels; the paper's percentages of time saved
    saved = {"GKVA-3": 0.53, "MQA": 2.77, "GQKVA-3.2": 1.82}
    for name, share in saved.items():
        paper = CASES[f"gqkva: {name}"].paper
        assert 100 * (1 - paper["ms"] / 178.90) == pytest.approx(share, abs=0.02)  # printed rounded
    assert sum(case.method == "gqkva" for case in CASES.values()) == 9
    blocks = [vit_variants_row.SkipViTSettings(**case.settings).blocks
              for case in CASES.values() if case.method == "skipvit"]  # fmt: skip
    assert [merge - score - 1 for score, merge in blocks] == [1, 2, 3, 4, 5, 6]


def _part(gain: float, ideal: float | None) -> dict[str, Any]:
    speedup = {"median": 1 + gain, "p10": 1.0, "p90": 1 + 2 * gain}
    share = None if ideal is None else gain / ideal
    times = {"dense": {"median_ms": 100.0}, "changed": {"median_ms": 100 / (1 + gain)}}
    return {"speedup": speedup, "bound": 1 + (ideal or 0), "share_of_gain": share, **times}


def _row(gain: float, ideal: float | None) -> dict[str, Any]:
    part = _part(gain, ideal)
    sizes = {"dense": 2_000_000, "changed": 1_500_000}
    return {
        "params": sizes, "macs": sizes, "qkv_width": 960, "training": part, "inference": part
    }  # fmt: skip


@pytest.mark.parametrize(
    ("gain", "wanted", "expected"),
    [
        (0.14, 13.23, {"gain": True, "share": True}),
        (0.129, 13.23, {"gain": False, "share": False}),
        (0.135, None, {"share": True}),
    ],
)
def test_demands(gain, wanted, expected) -> None:
    row = {"method": "skipvit", "wanted": wanted, **_row(gain, 0.163)}
    assert met(row) == expected


def test_rows_are_kept_and_printed_beside_the_papers(tmp_path: Path, monkeypatch, capsys) -> None:
    measured = []

    def fake(what: str, *_: Any) -> Any:
        measured.append(what)
        return _row(0.01, None) if "gqkva" in what else _row(0.1, 0.163)

    monkeypatch.setattr(vit_variants, "measured_apart", fake)
    path = tmp_path / "speed.json"
    words = ["--output", str(path), "--only", "GKVA-3"]
    assert vit_variants.main(words) == 0  # the grouped rows have no demands
    assert vit_variants.main([*words, "paper_like"]) == 1
    assert measured == ["gqkva: GKVA-3", "skipvit: 3 blocks (paper_like)"]
    table = lines(json.loads(path.read_text())["rows"])
    assert "| GKVA-3 | 960 | 1,500,000 | 1.50 (-25.00) | 21.16 |" in table[2]
    assert "| 99 against 100 | +1.0 (+0.0 to +2.0) | +0.53 (177.96 ms) |" in table[2]
    assert "| +16.30 | 91 against 100 | +10.0 (+0.0 to +20.0) | 61 % |" in table[-1]
    assert "+13.23 NOT met, 80 % of the ideal NOT met" in capsys.readouterr().out
    assert vit_variants.main([*words, "--runs", "3"]) == 2  # other settings, another file


def test_the_recorded_rows_are_taken_up_and_rivals_alone_may_be_missing(
    tmp_path: Path, monkeypatch
) -> None:
    recorded = Path(__file__).parents[2] / "results" / "vit_variants_speed.json"
    path, measured = tmp_path / "speed.json", []

    def fake(what: str, *_: Any) -> Any:
        measured.append(what)
        return _row(0.1, 0.163)

    path.write_bytes(recorded.read_bytes())
    monkeypatch.setattr(vit_variants, "measured_apart", fake)
    assert vit_variants.main(["--output", str(path)]) in (0, 1)
    assert set(measured) <= {key for key in CASES if key.startswith("tome")}
