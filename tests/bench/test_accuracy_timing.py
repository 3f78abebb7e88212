from __future__ import annotations

import json
from pathlib import Path

import pytest

from ms_eff.bench import accuracy_sizes
from ms_eff.bench.accuracy_sizes import VARIANTS, make_size
from ms_eff.bench.accuracy_timing import main, timed
from ms_eff.bench.lowrank_accuracy import run

TINY = make_size(
    "quick", models={"resnet18": 4}, seeds=(1,), train_images=64, test_images=50, batch_size=32,
    pretrain_epochs=1,
)  # fmt: skip


@pytest.mark.gate
def test_each_variants_step_is_timed_on_its_own_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    names = ("dense", "sequential freezing")
    monkeypatch.setattr(accuracy_sizes, "VARIANTS", {name: VARIANTS[name] for name in names})
    output = tmp_path / "rows.json"
    run(TINY, {"name": "digits"}, tmp_path / "work", output)
    assert main([str(output), "--work", str(tmp_path / "work"), "--runs", "3", "--seed", "1"]) == 0
    found = json.loads((tmp_path / "rows_time.json").read_text())
    assert found["batch"] == 32
    assert set(found["steps"]["resnet18"]) == set(names)
    assert all(step["median_ms"] > 0 for step in found["steps"]["resnet18"].values())
    assert main([str(output), "--work", str(tmp_path / "nowhere")]) == 2
    assert "nowhere" in capsys.readouterr().err
    assert main([str(output), "--work", str(tmp_path / "work"), "--seed", "5"]) == 2
    assert "--seed 5: " in (said := capsys.readouterr().err)
    assert "has [1]" in said


def test_nothing_measured_is_nothing_timed(tmp_path: Path) -> None:
    assert timed([], tmp_path, 32, 3) == {}
