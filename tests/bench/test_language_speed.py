"""Tokens a second, at its smallest."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ms_eff.bench import language_speed
from tests.models.llamas import save_hf


@pytest.mark.slow
def test_every_model_is_timed_beside_the_first(tmp_path: Path) -> None:
    for name, layers in (("one", 1), ("two", 2)):
        save_hf(tmp_path / name, num_hidden_layers=layers)
    output = tmp_path / "speed.json"
    call = ["--prompt", "8", "--new-tokens", "4", "--warmup", "1", "--runs", "3"]
    models = [str(tmp_path / "one"), str(tmp_path / "two")]
    assert language_speed.main([*models, *call, "--output", str(output)]) == 0
    rows = json.loads(output.read_text())["rows"]
    assert [(r["what"], r["model"]) for r in rows] == [
        ("prefill", "0: one"), ("prefill", "1: two"), ("decode", "0: one"), ("decode", "1: two"),
    ]  # fmt: skip
    for row in rows:
        tokens = 8 if row["what"] == "prefill" else 4
        seconds = row["milliseconds"]["median_ms"] / 1000
        assert row["tokens_per_second"] == pytest.approx(tokens / seconds)
    assert rows[0]["speedup"]["median"] == rows[2]["speedup"]["median"] == 1
    assert rows[1]["params"] > rows[0]["params"]


def test_a_model_that_is_not_there_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "speed.json"
    assert language_speed.main([str(tmp_path / "none"), "--output", str(output)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "none" in line
    assert not output.exists()
