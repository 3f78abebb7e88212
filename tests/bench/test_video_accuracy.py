from __future__ import annotations

import json
from pathlib import Path

import pytest

from ms_eff.bench import video_accuracy
from ms_eff.bench.accuracy_runs import changed_size
from ms_eff.bench.video_sizes import ROWS, SIZES, Case, cases, make_config
from ms_eff.bench.video_speed import KIND as SPEED
from ms_eff.methods.spatiotemporal.core import VARIANTS
from tests.bench.test_video_tables import accuracy

DIGITS = {"name": "motion_digits"}


def test_sizes_hold_every_variant_for_every_task_and_seed():
    for name in ("hour", "full"):
        found = list(cases(SIZES[name]))
        assert len({case.seed for case in found}) >= 2
        assert {case.task for case in found} == {"direction", "reversal"}
        assert {case.variant for case in found} >= set(VARIANTS)
        assert len({case.folder for case in found}) == len(found)


def test_runs_of_a_seed_differ_in_the_variant_only():
    size = SIZES["quick"]
    configs = [
        make_config(Case("reversal", 3, variant), size, DIGITS, Path("x")).to_dict()
        for variant in ROWS
    ]
    methods = [config.pop("methods") for config in configs]
    assert all(config == configs[0] for config in configs)
    assert [method[0]["spatiotemporal"] for method in methods] == list(ROWS.values())


@pytest.mark.gate
def test_finished_rows_are_taken_up(tmp_path, monkeypatch):
    asked = []

    def measured(case, size, data, work, console):
        asked.append(case)
        row = accuracy(case.variant, case.seed, 0.5, 10)
        return {**row, "task": case.task, "seconds": 1.0}

    monkeypatch.setattr(video_accuracy, "measure", measured)
    arguments = ["--data", "digits", "--size", "quick", "--output", str(tmp_path / "rows.json"),
                 "--work", str(tmp_path / "work"), "--seeds"]  # fmt: skip
    assert video_accuracy.main([*arguments, "0"]) == 0
    assert len(asked) == len(ROWS)
    assert video_accuracy.main([*arguments, "1"]) == 0
    assert [case.seed for case in asked[len(ROWS) :]] == [1] * len(ROWS)
    assert video_accuracy.main([*arguments, "0", "--width", "7"]) == 2
    assert video_accuracy.main([*arguments, "0", "--variants", "sum"]) == 2


def test_speeds_are_those_of_a_network_of_the_same_size(tmp_path, capsys):
    size, file = SIZES["hour"], tmp_path / "speed.json"
    settings = {"frames": size.frames, "width": size.width}
    for recorded, found in ((settings, ["row"]), ({**settings, "width": 99}, []), (None, [])):
        file.unlink(missing_ok=True)
        if recorded is not None:
            whole = {"format": SPEED.format, "settings": recorded, "calls": [], "rows": ["row"]}
            file.write_text(json.dumps(whole))
        assert video_accuracy._speeds(file, size) == found
        said = capsys.readouterr().out
        assert ("--frames 16 --width 12" in said) == (not found)


@pytest.mark.slow
def test_a_row_is_an_ordinary_run(tmp_path):
    size = changed_size(SIZES["quick"], {"train_clips": 64, "test_clips": 32, "frames": 4})
    row = video_accuracy.measure(Case("reversal", 0, "add"), size, DIGITS, tmp_path)
    assert 0 <= row["accuracy"] <= 1
    assert (row["train_clips"], row["test_clips"], row["chance"]) == (64, 32, 0.5)
    assert (tmp_path / "reversal" / "seed0" / "add" / "models" / "trained").is_dir()
