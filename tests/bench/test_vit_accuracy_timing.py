from __future__ import annotations

import json
from pathlib import Path

import pytest

from ms_eff.bench import environment
from ms_eff.bench.accuracy_runs import changed_size
from ms_eff.bench.rows import Rows
from ms_eff.bench.vit_accuracy_sizes import KIND, SIZES
from ms_eff.bench.vit_accuracy_timing import main, timed


@pytest.mark.gate
def test_each_measured_variants_step_is_timed_and_written_beside_the_rows(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    size = changed_size(SIZES["quick"], {"dim": 12, "batch_size": 4})
    path = tmp_path / "rows.json"
    rows = Rows(path, KIND, {"data": "digits", **size.model_dump(mode="json")}, "x")
    there = ("dense (MHA)", "ToMe", "SkipViT with GKVA-3")
    for variant in there:
        rows.add({"seed": 0, "variant": variant})
    assert main([str(path), "--runs", "2"]) == 0
    found = json.loads((tmp_path / "rows_time.json").read_text())
    assert found["batch"] == 4
    assert found["environment"]["cores"] == environment.cores()
    assert tuple(found["steps"]) == there
    assert all(step["median_ms"] > 0 and step["runs"] == 2 for step in found["steps"].values())
    assert main([str(tmp_path / "none.json")]) == 2
    assert "none.json" in capsys.readouterr().err


@pytest.mark.gate
def test_pictures_in_colour_need_no_files_to_be_timed() -> None:
    size = changed_size(SIZES["quick"], {"dim": 12, "batch_size": 2})
    assert timed(size, "cifar10", 1, ["dense (MHA)"])["dense (MHA)"]["runs"] == 1
