"""Questions in the fields of their releases."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ms_eff.data.multiple_choice import read_questions
from ms_eff.errors import DataError

LINES: list[dict[str, Any]] = [
    {"passage": "Ice is cold.", "question": "is ice cold", "answer": True},
    {"sentence": "The cup did not fit since the _ was small.", "option1": "cup", "option2": "box",
     "answer": "2"},
    {"context": "All A are B.", "query": "So?", "options": ["x", "y"], "correct_option": 1},
    {"question": "1 + 1?", "choices": ["1", "2", "3"], "answer": "B"},
]  # fmt: skip


def write(folder: Path, *lines: Any) -> Path:
    path = folder / "q.jsonl"
    path.write_text("\n".join(json.dumps(line) for line in lines))
    return path


def test_every_kind_is_recognised(tmp_path: Path) -> None:
    boolq, winogrande, logiqa, mmlu = read_questions(write(tmp_path, *LINES))
    context = "Ice is cold.\nQuestion: is ice cold?\nAnswer:"
    assert boolq.choices == ((context, " no"), (context, " yes"))
    assert winogrande.choices[1] == ("The cup did not fit since the box", " was small.")
    assert logiqa.choices[0][0].endswith("A. x\nB. y\nAnswer:")
    assert [c for _, c in logiqa.choices] == [" x", " y"]
    assert [c for _, c in mmlu.choices] == [" A", " B", " C"]
    assert [q.answer for q in (boolq, winogrande, logiqa, mmlu)] == [1, 1, 1, 1]
    assert len(read_questions(write(tmp_path, *LINES), limit=2)) == 2


@pytest.mark.parametrize("answer", [True, False, "true", "false", "True", "FALSE"])
def test_an_answer_may_be_a_word(tmp_path: Path, answer: object) -> None:
    (question,) = read_questions(write(tmp_path, {**LINES[0], "answer": answer}))
    assert question.answer == (str(answer).lower() == "true")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ({**LINES[0], "answer": "no"}, r"q\.jsonl: line 1: .*answer = 'no': write true or false"),
        ({**LINES[0], "answer": 1}, r"line 1: .*answer = 1: write true or false"),
        ({**LINES[3], "answer": True}, r"answer = True: write a number from 0, or a letter"),
        ({"text": "?"}, "line 1: no question of a known kind"),
        ({**LINES[3], "answer": 7}, "answer 7 is none of its choices"),
        ({**LINES[3], "answer": "Z"}, "cannot be read as a question"),
        ({**LINES[1], "sentence": "no blank"}, "cannot be read as a question"),
    ],
)
def test_other_lines_are_refused_by_number(tmp_path: Path, line: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_questions(write(tmp_path, line))


def test_an_empty_or_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no question"):
        read_questions(write(tmp_path))
    with pytest.raises(DataError, match="cannot be read"):
        read_questions(tmp_path / "none.jsonl")


def test_a_line_separator_may_stand_within_a_question(tmp_path: Path) -> None:
    fields = {**LINES[0], "passage": "one\u2028two\u0085three"}
    file = tmp_path / "q.jsonl"
    file.write_text(json.dumps(fields, ensure_ascii=False) + "\n", encoding="utf-8")
    (question,) = read_questions(file)
    assert question.choices[0][0].startswith("one\u2028two\u0085three\n")
