from __future__ import annotations

import json

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


@pytest.mark.slow
def test_a_row_counts_and_times_both_networks():
    row = video_speed.measure("add", "eco_lite_small", 4, 8, 2)
    assert row["macs"] > row["macs_3d"] > 0
    assert row["inference"]["conv3d"]["runs"] == 2
    taken = row["training"]["variant"]["median_ms"]
    assert row["training"]["frames_per_s"] == pytest.approx(4000 / taken)
