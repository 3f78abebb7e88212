from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ms_eff.bench import sharing
from ms_eff.models.attention import SHARING, AttentionCore, RepeatingCore, attention_core
from ms_eff.models.heads import head_layout


@pytest.mark.gate
def test_both_ways_are_timed_and_weighed() -> None:
    found = sharing.measure("GQKVA-2.3", batch=1, tokens=3, runs=2)
    for kind in ("forward", "gradient"):
        assert found[kind]["broadcast"]["runs"] == found[kind]["repeat"]["runs"] == 2
        assert found[kind]["speedup"]["median"] > 0
    assert sharing.peak_mib("MQA", "repeat", batch=1, tokens=3) >= 0


def test_one_table_says_what_a_backend_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    layout = head_layout("mqa", 6)
    for chosen, core in (("broadcast", AttentionCore), ("repeat", RepeatingCore)):
        monkeypatch.setitem(SHARING, "CPU", chosen)
        assert type(attention_core(layout, 4)) is core


def test_results_hold_times_of_one_process_and_memory_of_one_each(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fake(what: str, module: str, words: list[str], *_: Any) -> dict[str, Any]:
        if "--memory" in words:
            return {"peak_mib": 140.0 if words[-1] == "broadcast" else 150.0}
        times = {"broadcast": {"median_ms": 2.0}, "repeat": {"median_ms": 3.0}}
        part = {**times, "speedup": {"median": 1.5, "p10": 1.4, "p90": 1.6}}
        return {"forward": part, "gradient": part}

    monkeypatch.setattr(sharing, "measured_apart", fake)
    path = tmp_path / "sharing.json"
    assert sharing.main(["--output", str(path)]) == 0
    rows = json.loads(path.read_text())["rows"]
    assert list(rows) == list(sharing.KINDS)
    assert rows["MQA"]["peak_mib"] == {"broadcast": 140.0, "repeat": 150.0}
    assert "| MQA | 2.00 | 3.00 | 1.50x (1.40 to 1.60) |" in capsys.readouterr().out
