"""Columns of text tables: TSV, CSV and JSON lines, row by row; no MindSpore."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ms_eff.errors import DataError, nearest

__all__ = ["Column", "read_columns"]

Column = str | int
"""A column by its name in the header (or its key, in JSON lines), or by its number from 0."""

_SEPARATORS = {".tsv": "\t", ".txt": "\t", ".csv": ","}


def read_columns(path: Path, columns: Sequence[Column]) -> list[list[str]]:
    """Return the wanted columns of a table, one list a column.

    `.tsv` and `.txt` are cut at tabs and know no quotes, as GLUE's files; `.csv` has its usual
    quotes; `.jsonl` holds one object a line. Columns by name need a header in the first line;
    columns by number say that there is none. Empty lines are left out.

    Raises:
        DataError: the file is missing, or a line lacks a column; file and line are named.
    """
    rows = _objects(path) if path.suffix == ".jsonl" else _records(path, columns)
    found: list[list[str]] = [[] for _ in columns]
    for line, row in rows:
        for values, column in zip(found, columns, strict=True):
            try:
                value = row[column]
            except (IndexError, KeyError) as error:
                raise DataError(_lacks(path, line, column, row)) from error
            if value is None:
                raise DataError(f"{path}: line {line}: column '{column}' is null; give a value")
            values.append(str(value))
    if not found[0]:
        raise DataError(f"{path}: no rows; give a table with the columns {list(columns)}")
    return found


def _records(path: Path, columns: Sequence[Column]) -> Iterator[tuple[int, Any]]:
    """Yield (line, row) of a separated table; rows are mappings where there is a header."""
    if path.suffix not in _SEPARATORS:
        raise DataError(
            f"{path}: unknown kind of table '{path.suffix}'; known: "
            f"{', '.join((*_SEPARATORS, '.jsonl'))}"
        )
    reader = csv.reader(
        _lines(path),
        delimiter=_SEPARATORS[path.suffix],
        quoting=csv.QUOTE_MINIMAL if path.suffix == ".csv" else csv.QUOTE_NONE,
        strict=True,
    )
    header = None
    try:
        for row in reader:
            if not row:
                continue
            if header is None and any(isinstance(column, str) for column in columns):
                header = row
            elif header is None:
                yield reader.line_num, row
            else:
                yield reader.line_num, dict(zip(header, row, strict=False))
    except csv.Error as error:
        raise DataError(f"{path}: line {reader.line_num}: {error}") from error


def _objects(path: Path) -> Iterator[tuple[int, Any]]:
    for number, line in enumerate(_lines(path), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            raise DataError(f"{path}: line {number}: not valid JSON: {error}") from error
        if not isinstance(row, dict):
            raise DataError(f"{path}: line {number}: expected an object, found {line[:40]!r}")
        yield number, row


def _lines(path: Path) -> Iterator[str]:
    """Yield lines that end at line feeds only: text may hold other separators of Unicode's."""
    try:
        # a spreadsheet's file may begin with a byte order mark, which is no part of the first name
        with path.open(encoding="utf-8-sig", newline="\n") as stream:
            for line in stream:
                yield line.rstrip("\r\n") + "\n"
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not UTF-8 text ({error.reason}); convert it") from error


def _lacks(path: Path, line: int, column: Column, row: Any) -> str:
    if isinstance(row, dict):
        near = nearest(str(column), row) or f"; there are: {', '.join(map(str, row))}"
        return f"{path}: line {line}: no column '{column}'{near}"
    return f"{path}: line {line}: no column {column}, the line has {len(row)}: {str(row)[:60]}"
