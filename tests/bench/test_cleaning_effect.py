from __future__ import annotations

import json

import numpy as np
import pytest

from ms_eff.bench import cleaning_effect
from ms_eff.bench.cleaning_effect import ARMS, prepare, table
from tests.bench.test_dirty_text import TEXT


@pytest.fixture
def texts(tmp_path):
    (tmp_path / "a.txt").write_bytes(TEXT)
    (tmp_path / "b.txt").write_bytes(TEXT.replace(b"captain", b"sailor"))
    return [tmp_path / "a.txt", tmp_path / "b.txt"]


def test_what_is_cleaned_is_what_was_there_before_the_dirt(texts, tmp_path) -> None:
    counts = prepare(texts, tmp_path, 0.1)
    raw, cleaned, test = (
        (tmp_path / f"{name}.txt").read_bytes().splitlines() for name in ("raw", "cleaned", "test")
    )
    assert len(raw) == counts["read"] > 2 * len(cleaned)
    assert len(cleaned) == counts["kept"]
    assert not set(test) & set(raw)
    assert set(test) | set(cleaned) <= set(cleaning_effect.clean_sentences(b"\n".join(
        path.read_bytes() for path in texts
    )))  # fmt: skip
    assert counts["dropped"]["invalid_utf8"] == 0 < counts["dropped"]["html"]
    before = (tmp_path / "raw.txt").read_bytes()
    assert prepare(texts, tmp_path, 0.1) == counts
    assert (tmp_path / "raw.txt").read_bytes() == before


def test_the_table_gives_mean_and_spread() -> None:
    rows = [
        {"arm": arm, "seed": seed, "perplexity": value, "steps": 5, "text_tokens": 1000}
        for arm, values in (("raw", (50.0, 54.0)), ("cleaned", (30.0,)))
        for seed, value in enumerate(values)
    ]
    lines = table(rows).splitlines()
    assert lines[1].split() == ["raw", "1,000", "5", "52.00", "50.00-54.00", "2"]
    assert lines[2].split() == ["cleaned", "1,000", "5", "30.00", "30.00-30.00", "1"]


@pytest.mark.slow
def test_the_smallest_size_runs_to_its_table_and_goes_on(texts, tmp_path, capsys) -> None:
    pytest.importorskip("tokenizers")
    words = [
        *("--text", *map(str, texts), "--size", "quick", "--block", "8", "--steps", "3"),
        *("--dim", "8", "--vocab", "300", "--work", str(tmp_path / "work")),
        *("--output", str(tmp_path / "rows.json")),
    ]
    assert cleaning_effect.main(words) == 0
    first = json.loads((tmp_path / "rows.json").read_text())["rows"]
    assert [row["arm"] for row in first] == list(ARMS)
    assert all(np.isfinite(row["perplexity"]) for row in first)
    assert len({row["seen_tokens"] for row in first}) == 1
    assert cleaning_effect.main([*words, "--seeds", "0", "1"]) == 0
    later = json.loads((tmp_path / "rows.json").read_text())["rows"]
    assert later[:2] == first
    assert [row["seed"] for row in later] == [0, 0, 1, 1]
    assert "cleaned" in capsys.readouterr().err


def test_a_text_of_no_use_is_a_users_mistake(tmp_path, capsys) -> None:
    (tmp_path / "a.txt").write_text("No.\n")
    words = ["--text", str(tmp_path), "--work", str(tmp_path / "w"), "--size", "quick"]
    assert cleaning_effect.main([*words, "--output", str(tmp_path / "o.json")]) == 2
    assert capsys.readouterr().err.startswith("cleaning_effect: --text: too little text")
