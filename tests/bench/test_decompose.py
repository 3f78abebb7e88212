from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ms_eff.bench import decompose


def test_a_small_resnet_is_measured() -> None:
    found = decompose.measure(decompose.CASES["resnet50"], width=8, stem="cifar", num_classes=20)
    assert found["layers"] == 115
    assert found["decomposed"] == 49
    assert found["seconds"] > 0
    assert 1e8 < found["peak_bytes"] < 1e11
    assert 0 < found["mean_error"] < 1


def run(seconds: float, **changes: Any) -> dict[str, Any]:
    case = decompose.CASES["resnet50"]
    found = {"layers": case.layers, "weights": case.weights, "peak_bytes": 1e9, "decomposed": 49}
    return {**found, "seconds": seconds, "mean_error": 0.6, **changes}


@pytest.mark.parametrize(
    ("changes", "met"),
    [({}, True), ({"layers": 114}, False), ({"weights": 1}, False), ({"peak_bytes": 3e9}, False)],
)
def test_demands_are_compared(changes: dict[str, Any], met: bool) -> None:
    runs = [run(seconds, **changes) for seconds in (9.0, 50.0, 11.0)]
    row = decompose._row(decompose.CASES["resnet50"], runs)
    assert row["met"] is met
    assert row["seconds"] == {"median": 11.0, "min": 9.0, "max": 50.0, "runs": 3}


def test_results_are_written_and_the_exit_code_tells(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(decompose, "CASES", {"resnet50": decompose.CASES["resnet50"]})
    path = tmp_path / "decompose.json"
    for seconds, code in ((5.0, 0), (25.0, 1)):
        monkeypatch.setattr(decompose, "_in_process", lambda name, s=seconds: run(s))
        assert decompose.main(["--output", str(path)]) == code
        assert json.loads(path.read_text())["networks"]["resnet50"]["met"] is (code == 0)
    assert "NOT met" in capsys.readouterr().out
