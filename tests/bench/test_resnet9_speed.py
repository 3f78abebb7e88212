"""ResNet-9 against torch: the same computation on both sides, and what is told."""

from __future__ import annotations

import json

import pytest

from ms_eff.bench import resnet9_speed
from ms_eff.bench.against_torch import ratio_row, told
from ms_eff.bench.timers import Comparison
from tests.tolerances import FP32

pytest.importorskip("torch")


@pytest.mark.slow
def test_both_sides_compute_the_same_and_everything_is_timed() -> None:
    found = resnet9_speed.measure(width=2, batch=8, form="competition", runs=2)
    assert found["difference"] < FP32
    assert found["train_step"]["ms_eff"]["runs"] == found["train_step"]["torch"]["runs"] == 2
    parts = ["convolution", "batch normalisation", "CELU", "max pool"]
    assert list(found["parts"]) == parts
    assert found["pipeline"]["augment"] == "crop_flip"
    step = found["train_step"]["ms_eff"]["median_ms"]
    assert found["images_per_second"] == pytest.approx(8000 / step)


@pytest.mark.parametrize(("factor", "code"), [(1.4, 0), (1.6, 1)])
def test_results_are_written_and_the_exit_code_tells(
    factor, code, tmp_path, monkeypatch, capsys
) -> None:
    row = ratio_row(Comparison({"ms_eff": [factor], "torch": [1.0]}), resnet9_speed.LIMIT)
    found = {"train_step": row, "parts": {"ReLU": row}, "images_per_second": 5.0}
    found["pipeline"] = {"images_per_second": 70.0}
    monkeypatch.setattr(resnet9_speed, "measure", lambda **_: found)
    path = tmp_path / "speed.json"
    assert resnet9_speed.main(["--output", str(path)]) == code
    assert json.loads(path.read_text())["train_step"]["ratio"]["median"] == factor
    said = capsys.readouterr().out
    assert ("NOT met" in said) is bool(code)
    assert "pipeline alone: 70 images/s" in said


def test_a_row_without_a_limit_says_nothing_of_one() -> None:
    row = ratio_row(Comparison({"ms_eff": [3.0], "torch": [2.0]}))
    assert told("ReLU", row) == "ReLU: ms_eff 3 ms, torch 2 ms, ratio 1.50 (1.50 to 1.50)"
