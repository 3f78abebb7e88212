"""Multiple-choice questions from JSONL files, as contexts and continuations to be scored.

Fields are those of the usual releases, recognised by name:

- BoolQ: `passage`, `question`, `answer` (true or false, as a word too);
- WinoGrande: `sentence` with a blank `_`, `option1`, `option2`, `answer` ("1" or "2");
- LogiQA: `context`, `query` (or `question`), `options`, `correct_option` (from 0) or `label` (a
  letter);
- MMLU: `question`, `choices`, `answer` (from 0, or a letter).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ms_eff.errors import DataError

__all__ = ["Question", "read_questions"]

_LETTERS = "ABCDEFGHIJ"


@dataclass(frozen=True)
class Question:
    """One question.

    Attributes:
        choices: (context, continuation) of each answer; the continuation is what is scored.
        answer: index of the right one.
    """

    choices: tuple[tuple[str, str], ...]
    answer: int


def read_questions(path: str | Path, limit: int | None = None) -> list[Question]:
    """Return the questions of a JSONL file.

    Args:
        path: one JSON object a line.
        limit: only the first that many.

    Raises:
        DataError: the file cannot be read, or a line is no question of a known kind.
    """
    path = Path(path)
    try:
        lines = path.read_text(encoding="utf-8").split("\n")  # U+2028 may stand in JSON
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not UTF-8"
        raise DataError(f"{path}: cannot be read: {reason}") from error
    found: list[Question] = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        if limit is not None and len(found) == limit:
            break
        found.append(_question(line, f"{path}: line {number}"))
    if not found:
        raise DataError(f"{path}: holds no question")
    return found


def _question(line: str, where: str) -> Question:
    try:
        fields = json.loads(line)
        for needed, reader in _READERS.items():
            if set(needed) <= set(fields):
                question = reader(fields)
                if not 0 <= question.answer < len(question.choices):
                    raise DataError(f"{where}: answer {question.answer} is none of its choices")
                return question
    except DataError:
        raise
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise DataError(f"{where}: cannot be read as a question ({error})") from error
    known = " | ".join(", ".join(needed) for needed in _READERS)
    raise DataError(f"{where}: no question of a known kind; fields are expected: {known}")


def _boolq(fields: Mapping[str, Any]) -> Question:
    context = f"{fields['passage']}\nQuestion: {fields['question']}?\nAnswer:"
    return Question(((context, " no"), (context, " yes")), int(_truth(fields["answer"])))


def _winogrande(fields: Mapping[str, Any]) -> Question:
    # partial evaluation: what follows the blank is scored behind each option
    before, after = fields["sentence"].split("_", 1)
    options = (fields["option1"], fields["option2"])
    choices = tuple((before + option, " " + after.strip()) for option in options)
    return Question(choices, int(fields["answer"]) - 1)


def _logiqa(fields: Mapping[str, Any]) -> Question:
    query = fields.get("query", fields.get("question"))
    options = fields["options"]
    lines = "\n".join(f"{x}. {o}" for x, o in zip(_LETTERS, options, strict=False))
    context = f"Passage: {fields['context']}\nQuestion: {query}\nChoices:\n{lines}\nAnswer:"
    answer = fields.get("correct_option", fields.get("label"))
    return Question(tuple((context, f" {option}") for option in options), _index(answer))


def _mmlu(fields: Mapping[str, Any]) -> Question:
    choices = fields["choices"]
    lines = "\n".join(f"{x}. {c}" for x, c in zip(_LETTERS, choices, strict=False))
    context = f"{fields['question'].strip()}\n{lines}\nAnswer:"
    letters = tuple((context, f" {x}") for x in _LETTERS[: len(choices)])
    return Question(letters, _index(fields["answer"]))


def _truth(answer: Any) -> bool:
    """Return a truth given as such or as a word; any other word would count as true by itself.

    >>> _truth(True), _truth("False")
    (True, False)
    """
    if isinstance(answer, str) and answer.lower() in ("true", "false"):
        return answer.lower() == "true"
    if not isinstance(answer, bool):
        raise ValueError(f"answer = {answer!r}: write true or false")
    return answer


def _index(answer: Any) -> int:
    """Return the place of an answer given as a number or a letter.

    >>> _index(2), _index("c")
    (2, 2)
    """
    if isinstance(answer, bool):  # which Python takes for a number
        raise ValueError(f"answer = {answer!r}: write a number from 0, or a letter")
    return answer if isinstance(answer, int) else _LETTERS.index(str(answer).strip().upper())


_READERS: dict[tuple[str, ...], Callable[[Mapping[str, Any]], Question]] = {
    ("passage", "question", "answer"): _boolq,
    ("sentence", "option1", "option2", "answer"): _winogrande,
    ("context", "options"): _logiqa,
    ("question", "choices", "answer"): _mmlu,
}
