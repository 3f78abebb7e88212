from __future__ import annotations

import json
from pathlib import Path

import pytest

from ms_eff.bench import lite_check
from ms_eff.bench.lite_models import ROWS, build
from ms_eff.deploy.export import export
from ms_eff.deploy.graph_check import check_graph
from ms_eff.methods.spatiotemporal.core import VARIANTS
from tests.lite import lite_or_skip

RESULTS = Path(__file__).parents[2] / "results"


def made(row, difference=1e-6, refused=None, expected=False):
    return {
        "row": row, "onnx_bytes": 2_000_000, "mindir_bytes": 3_000_000, "refused": refused,
        "refusal_expected": expected, "max_abs_difference": difference, "output_scale": 2.0,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("row", "good"),
    [
        (made("a"), True),
        (made("a", 2.1e-4), False),
        (made("a", refused="node Conv"), False),
        (made("a", refused="node Conv", expected=True), True),
        (made("a", expected=True), False),
    ],
)
def test_a_row_is_good_within_the_tolerance_or_refused_as_expected(row, good):
    assert lite_check.good(row) is good
    assert ("| yes |" if good else "| NO |") in lite_check.lines([row])[-1]


def test_rows_that_are_there_are_not_made_again(tmp_path, monkeypatch, capsys):
    asked = []

    def measure(row, size, work):
        asked.append((row, size))
        return made(row, expected="conv3d" in row)

    monkeypatch.setattr(lite_check, "measure", measure)
    arguments = ["--output", str(tmp_path / "rows.json"), "--size", "quick", "--rows"]
    assert lite_check.main([*arguments, "resnet50"]) == 0
    assert lite_check.main([*arguments, "resnet50", "eco_lite, conv3d"]) == 1  # was not refused
    assert asked == [("resnet50", "quick"), ("eco_lite, conv3d", "quick")]
    assert "| resnet50 | 2.0 | 3.0 | 1.0e-06 | 2 | yes |" in capsys.readouterr().out
    found = json.loads((tmp_path / "rows.json").read_text())
    assert found["format"] == "ms_eff.lite_check/1"
    assert lite_check.main([*arguments[:2], "--rows", "resnet50"]) == 2
    assert "made with other settings (size" in capsys.readouterr().err


CLIPS = [row for row in ROWS if row.startswith("eco_lite")]


def test_every_4d_form_of_a_network_for_clips_has_a_row():
    named = {row.removeprefix("eco_lite, ") for row in CLIPS}
    assert named == {*VARIANTS, "add, aligned", "cat, aligned"}
    recorded = json.loads((RESULTS / "lite_check.json").read_text())["settings"]["rows"]
    assert list(ROWS)[: len(recorded)] == recorded  # a later call adds the others to the file


@pytest.mark.slow
@pytest.mark.parametrize("row", CLIPS)
def test_only_3d_convolutions_stop_a_board(row, tmp_path):
    """What the rows find out before the converter; needs no MindSpore Lite."""
    subject = build(row, "quick")
    file = export(subject.network, tmp_path / "n.onnx", [subject.input]).path
    stops = [f.what for f in check_graph(file, "ascend310").findings if f.grade == "stop"]
    assert bool(stops) == subject.refused == (row == "eco_lite, conv3d"), stops


@pytest.mark.slow
@pytest.mark.parametrize("row", list(ROWS))
def test_networks_run_in_lite_as_they_do_here(row, tmp_path):
    lite_or_skip()
    found = lite_check.measure(row, "quick", tmp_path)
    assert lite_check.good(found), found
    assert bool(found["doctor_stops"]) == ("conv3d" in row), found
    if not found["refused"]:
        assert found["other_class"] == 0
