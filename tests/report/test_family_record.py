"""A family for `results/` and a card."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ms_eff.report.family_record import main
from tests.report.test_language_family import family, speed, write


def test_the_table_joins_members_and_speeds_and_the_file_names_no_place(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    results = tmp_path / "new" / "results.json"
    assert main([str(tmp_path), str(results)]) == 2
    assert "no family yet" in capsys.readouterr().err
    write(tmp_path, "family.json", family())
    write(tmp_path, "speed.json", speed())
    assert main([str(tmp_path), str(results)]) == 0
    head, _, parent, member = capsys.readouterr().out.splitlines()
    assert "| prefill, tokens/s |" in head
    assert parent.startswith(
        "| parent | 2,000,000 | 1,000,000 | 20 | 60.0 % (50.0 %, 40 questions)"
    )
    assert "| 140 (1.40x) | Once 1.25 <b> |" in member
    found = json.loads(results.read_text())
    assert found["settings"]["parent"]["path"] == "tiny.gguf"
    assert found["settings"]["evaluation"]["files"] == ["test.txt"]
    assert found["rows"] == family()["rows"]
    assert found["speed"] == speed()
