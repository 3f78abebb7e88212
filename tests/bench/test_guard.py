"""The performance guard: what it finds, what it calls noise, how it ends."""

from __future__ import annotations

import json

import pytest

from ms_eff.bench.guard import main


def _band(median: float, spread: float = 0.05) -> dict[str, float]:
    return {"median": median, "p10": median - spread, "p90": median + spread}


@pytest.fixture
def folders(tmp_path):
    before, now = tmp_path / "before", tmp_path / "now"
    for folder in (before, now):
        folder.mkdir()
    return before, now


def _write(folder, **rows) -> None:
    (folder / "speed.json").write_text(json.dumps({"rows": [rows], "forward": {"median_ms": 9.0}}))


@pytest.mark.parametrize(
    ("rows", "code"),
    [
        ({"ratio": _band(0.8), "speedup": _band(1.5)}, 0),
        ({"ratio": _band(0.88), "speedup": _band(1.42)}, 0),  # the bands overlap
        ({"ratio": _band(0.95), "speedup": _band(1.5)}, 1),  # slower against the rival
        ({"ratio": _band(0.8), "speedup": _band(1.2)}, 1),  # gains less over the dense network
        ({"ratio": _band(0.4), "speedup": _band(3.0)}, 0),  # better is never a failure
    ],
)
def test_only_a_band_that_lies_apart_on_the_bad_side_fails(folders, capsys, rows, code):
    before, now = folders
    _write(before, ratio=_band(0.8), speedup=_band(1.5))
    _write(now, **rows, new={"ratio": _band(9.0)})
    assert main([str(before), str(now)]) == code
    said = capsys.readouterr().out
    assert "2 ratios compared" in said
    assert said.count("WORSE") == code
    assert main([str(before / "speed.json"), str(now / "speed.json")]) == code


def test_a_figure_that_is_no_longer_measured_fails(folders, capsys):
    before, now = folders
    _write(before, ratio=_band(0.8), gone={"ratio": _band(1.0)})
    _write(now, ratio=_band(0.8))
    assert main([str(before), str(now)]) == 1
    said = capsys.readouterr().out
    assert "GONE  speed: rows.0.gone.ratio: 1.000 (0.950-1.050) -> not measured" in said
    assert "2 ratios compared, 1 worse" in said


def test_nothing_to_compare_is_a_users_mistake(folders, capsys):
    before, now = folders
    assert main([str(before), str(now)]) == 2
    assert "run the benchmarks first" in capsys.readouterr().err
    _write(now, ratio=_band(1.0))
    assert main([str(before), str(now)]) == 2
    assert "speed.json" in capsys.readouterr().err
