from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ms_eff.bench import vit
from ms_eff.bench.timers import Comparison
from tests.tolerances import FP32


@pytest.mark.gate
def test_both_sides_compute_the_same_and_are_timed() -> None:
    pytest.importorskip("torch")
    pytest.importorskip("transformers")
    sizes: dict[str, Any] = {"image_size": 8, "patch_size": 4, "dim": 16, "depth": 1, "heads": 2}
    found = vit.measure("vit", batch=2, warmup=1, runs=2, num_classes=5, **sizes)
    assert found["difference"] < FP32
    for kind in ("train_step", "forward"):
        assert found[kind]["ms_eff"]["runs"] == found[kind]["torch"]["runs"] == 2
        assert found[kind]["ratio"]["p10"] <= found[kind]["ratio"]["median"]


@pytest.mark.parametrize(("ours", "met"), [([2.0, 2.6, 2.4], True), ([3.0, 2.7, 2.8], False)])
def test_ratio_is_our_time_over_torchs(ours: list[float], met: bool) -> None:
    row = vit._row("forward", Comparison({"ms_eff": ours, "torch": [2.0, 2.0, 2.0]}))
    assert row["ratio"]["median"] == sorted(ours)[1] / 2.0
    assert row["met"] is met


@pytest.mark.parametrize(("factor", "code"), [(1.0, 0), (2.0, 1)])
def test_results_are_written_and_the_exit_code_tells(
    factor: float, code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    samples = {"ms_eff": [factor], "torch": [1.0]}
    rows = {kind: vit._row(kind, Comparison(samples)) for kind in vit.LIMITS}
    monkeypatch.setattr(vit, "measure", lambda *_, **__: rows)
    path = tmp_path / "speed.json"
    assert vit.main(["--output", str(path)]) == code
    assert json.loads(path.read_text())["forward"]["ratio"]["median"] == factor
