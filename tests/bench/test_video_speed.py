from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from ms_eff.bench import video_speed
from ms_eff.methods.spatiotemporal.core import VARIANTS
from tests.bench.test_video_tables import speed


def test_every_variant_of_the_paper_is_a_row():
    assert set(VARIANTS) - {"spatial"} <= set(video_speed.ROWS)


def test_rows_that_are_there_are_not_measured_again(tmp_path, monkeypatch, capsys):
    asked = []

    def apart(row, options):
        asked.append(row)
        return speed(row, 1.2, 1.1)

    monkeypatch.setattr(video_speed, "_apart", apart)
    arguments = ["--output", str(tmp_path / "rows.json"), "--rows"]
    assert video_speed.main([*arguments, "conv3d"]) == 0
    assert video_speed.main([*arguments, "conv3d", "add"]) == 1  # 1.1x in training
    assert asked == ["conv3d", "add"]
    assert (
        "add, training: 1.10x (1.00 to 1.50) conv3d, 1.12 wanted: NOT met"
        in capsys.readouterr().out
    )
    found = json.loads((tmp_path / "rows.json").read_text())
    assert found["format"] == "ms_eff.video_speed/1"
    assert video_speed.main([*arguments, "add", "--frames", "8"]) == 2
    assert "made with other settings (frames" in capsys.readouterr().err
    small = ["--output", str(tmp_path / "small.json"), "--model", "eco_lite_small", "--width", "12"]
    assert video_speed.main([*small, "--rows", "add"]) == 0  # the demand is on the published one
    assert json.loads((tmp_path / "small.json").read_text())["settings"]["width"] == 12


def test_the_recorded_table_is_taken_up_by_the_command_without_options(tmp_path, monkeypatch):
    def apart(row, options):
        raise AssertionError(f"{row} is measured again")

    monkeypatch.setattr(video_speed, "_apart", apart)
    recorded = Path(__file__).parents[2] / "results" / "video_speed.json"
    shutil.copy(recorded, tmp_path)
    assert video_speed.main(["--output", str(tmp_path / "video_speed.json")]) == 0


def test_a_row_s_process_is_asked_for_what_the_call_was(monkeypatch):
    asked = []
    monkeypatch.setattr(video_speed, "measured_apart", lambda *given: asked.append(given) or {})
    words = ["--model", "eco_lite_small", "--image", "32", "--width", "12", "--runs", "7"]
    for more in ([], words):
        video_speed._apart("add", video_speed._parser().parse_args(more))
    own = [video_speed._parser().parse_args(given[2]) for given in asked]
    assert [(o.one, o.model, o.image, o.width, o.runs) for o in own] == [
        ("add", "eco_lite", 243, None, 10), ("add", "eco_lite_small", 32, 12, 7)
    ]  # fmt: skip


@pytest.mark.slow
def test_a_row_counts_and_times_both_networks():
    row = video_speed.measure("add", "eco_lite_small", 4, 8, 2, width=6)
    wider = video_speed.measure("add", "eco_lite_small", 4, 8, 2)
    assert row["params"] < wider["params"]
    assert row["macs"] > row["macs_3d"] > 0
    assert row["inference"]["conv3d"]["runs"] == 2
    taken = row["training"]["variant"]["median_ms"]
    assert row["training"]["frames_per_s"] == pytest.approx(4000 / taken)
