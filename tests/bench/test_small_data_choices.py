"""Choosing a recipe's settings: rows, what they are scored on, the table."""

from __future__ import annotations

from pathlib import Path

import pytest

from ms_eff.bench import small_data_choices
from ms_eff.bench.rows import read_rows
from ms_eff.bench.small_data_choices import KIND, main

CONFIGS = Path(__file__).parents[2] / "configs" / "small_data"


@pytest.fixture
def trained(monkeypatch) -> list:
    """Configs in the order in which they were trained; wider networks score better."""
    configs: list = []

    def fake(config, console):
        configs.append(config)
        width = config.model.width
        return {"accuracy": width / 100, "epochs": 640 / width, "images_per_second": 6400 / width}

    monkeypatch.setattr(small_data_choices, "measured", fake)
    return configs


def _words(folder: Path, *changes: str) -> list[str]:
    where = [f"--work={folder / 'work'}", f"--output={folder / 'rows.json'}"]
    chosen = [word for change in changes for word in ("--change", *change.split())]
    return ["--data=digits", "--recipe=best", f"--configs={CONFIGS}", *where, *chosen]


def test_each_change_is_scored_on_held_out_images_once(tmp_path, trained, capsys) -> None:
    assert main(_words(tmp_path, "", "model.width=24 train.lr=0.3")) == 0
    assert main(_words(tmp_path, "model.width=24 train.lr=0.3", "model.width=32")) == 0
    assert [c.model.width for c in trained] == [16, 24, 32]
    assert [c.train.lr for c in trained] == [0.5, 0.3, 0.5]
    assert {c.data.test_split for c in trained} == {"held_out"}
    assert len({c.output for c in trained}) == 3
    table = [line for line in capsys.readouterr().out.splitlines() if line.startswith("| `")]
    assert table[-2:] == [
        "| `model.width=32` | 32.00 | 20.0 | 200 |",
        "| `model.width=24 train.lr=0.3` | 24.00 | 26.7 | 267 |",
    ]
    found = read_rows(tmp_path / "rows.json", KIND)
    assert [row["call"] for row in found["rows"]] == [0, 0, 1]
    assert found["settings"]["test_split"] == "held_out"


def test_a_wrong_change_is_told_before_anything_is_trained(tmp_path, trained, capsys) -> None:
    assert main(_words(tmp_path, "", "model.widht=24")) == 2
    assert "did you mean 'width'" in capsys.readouterr().err
    assert trained == []
    assert main(_words(tmp_path, "")) == 0
    assert main([*_words(tmp_path, ""), "--seconds", "20"]) == 2
    assert "made with other settings" in capsys.readouterr().err
