"""Yes-or-no questions out of labelled sentences, in BoolQ's form, for `evaluation.questions`.

`python -m ms_eff.bench.sentiment_questions dev.tsv sst2.jsonl --questions 200` asks of sentences of
SST-2 (`text<TAB>label`, 1 for a positive one) whether they are positive reviews.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ms_eff.data.order import balanced_subset
from ms_eff.data.tables import read_columns
from ms_eff.errors import DataError, UserError
from ms_eff.files import replacing

__all__ = ["main", "questions"]


def questions(path: Path, count: int) -> list[dict[str, str | bool]]:
    """Return the first sentences of a table as questions, half of them to be answered with yes.

    Args:
        path: lines of text, tab, 0 or 1.
        count: how many.

    Raises:
        DataError: the table cannot be read, has other labels, or fewer sentences.
    """
    texts, words = read_columns(path, (0, 1))
    if odd := set(words) - {"0", "1"}:
        raise DataError(
            f"{path}: label '{min(odd)}' is neither 0 nor 1; lines are text, tab, label"
        )
    labels = np.array([int(word) for word in words], np.int32)
    return [
        {"passage": texts[i], "question": "is this a positive review", "answer": bool(labels[i])}
        for i in balanced_subset(labels, count, "--questions")
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the questions, one a line; return 0, or 2 for a user's mistake."""
    parser = argparse.ArgumentParser(
        prog="python -m ms_eff.bench.sentiment_questions", description=__doc__
    )
    parser.add_argument("table", type=Path, help="SST-2's dev.tsv")
    parser.add_argument("output", type=Path, help="JSON lines")
    parser.add_argument("--questions", type=int, default=200, metavar="N", help="how many (200)")
    options = parser.parse_args(arguments)
    try:
        lines = [json.dumps(found) for found in questions(options.table, options.questions)]
        with replacing(options.output, DataError, parents=True) as temporary:
            temporary.write_text("\n".join(lines) + "\n", encoding="utf-8")
    except UserError as error:
        print(f"sentiment_questions: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
