"""Sentences as questions."""

from __future__ import annotations

from pathlib import Path

import pytest

from ms_eff.bench.sentiment_questions import main
from ms_eff.data.multiple_choice import read_questions


def test_half_of_them_are_answered_with_yes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table, output = tmp_path / "dev.tsv", tmp_path / "new" / "q.jsonl"
    table.write_text("fine\t1\ngood\t1\ngreat\t1\nbad\t0\npoor\t0\n")
    assert main([str(table), str(output), "--questions", "4"]) == 0
    found = read_questions(output)
    assert [question.answer for question in found] == [1, 1, 0, 0]  # no, yes
    (context, word), _ = found[0].choices
    assert (context, word) == ("fine\nQuestion: is this a positive review?\nAnswer:", " no")
    assert main([str(table), str(output), "--questions", "9"]) == 2
    assert "--questions: 9 samples asked for" in capsys.readouterr().err
    table.write_text("fine\tyes\n")
    assert main([str(table), str(output)]) == 2
    assert "label 'yes' is neither 0 nor 1" in capsys.readouterr().err
