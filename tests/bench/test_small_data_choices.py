"""Choosing a recipe's settings: rows, what they are scored on, the table."""

from __future__ import annotations

from pathlib import Path

import pytest

from ms_eff.bench import small_data_choices
from ms_eff.bench.rows import read_rows
from ms_eff.bench.small_data_choices import KIND, main
from ms_eff.errors import DivergedError

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
    assert [c.train.lr for c in trained] == [0.25, 0.3, 0.25]
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


@pytest.mark.parametrize("change", ["seed=1", "output=there", "train.time_budget=1200s"])
def test_a_change_that_has_an_option_is_refused(tmp_path, trained, capsys, change) -> None:
    assert main(_words(tmp_path, "", change)) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert f"{change}: {change.split('=')[0]} is said by --" in line
    assert trained == []


@pytest.mark.parametrize(
    "change", ["data.test_split=null", "data.train_limit=100", "data.test_limit=100"]
)
def test_a_change_that_would_spoil_the_comparison_is_refused(
    tmp_path, trained, capsys, change
) -> None:
    assert main(_words(tmp_path, "", change)) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert f"--change {change}: {change.split('=')[0]} has to be the same for all rows" in line
    assert trained == []


def test_a_row_that_diverges_ends_in_a_line_and_leaves_the_others(
    tmp_path, trained, monkeypatch, capsys
) -> None:
    assert main(_words(tmp_path, "")) == 0

    def diverging(config, console):
        raise DivergedError("training diverged at step 7: loss is nan")

    monkeypatch.setattr(small_data_choices, "measured", diverging)
    assert main(_words(tmp_path, "", "train.lr=9")) == 2
    assert "small_data_choices: training diverged at step 7" in capsys.readouterr().err
    assert len(read_rows(tmp_path / "rows.json", KIND)["rows"]) == 1


@pytest.mark.slow
def test_a_real_change_is_trained(tmp_path) -> None:
    small = "model.width=2 data.batch_size=32 train.epochs=1"
    assert main([*_words(tmp_path, small), "--seconds", "100"]) == 0
    (row,) = read_rows(tmp_path / "rows.json", KIND)["rows"]
    assert (row["changes"], row["train_images"], row["steps"]) == (small, 1000, 31)
    assert 0 < row["test_images"] < 1000  # of the digits that are left
