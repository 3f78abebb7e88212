"""A family's members as one file for `results/` and one Markdown table for a card.

`python -m ms_eff.report.family_record OUTPUT results/language_family.json` joins what the family's
folder holds: `family.json` of `ms-eff compress` and `speed.json` of `ms_eff.bench.language_speed`.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ms_eff.errors import ConfigError, SetupError, UserError
from ms_eff.files import read_json, replacing
from ms_eff.report.language_family import SPEED, members_table, read_family, speeds_of
from ms_eff.report.tables import Table

__all__ = ["main", "markdown", "record"]


def record(output: Path) -> dict[str, Any]:
    """Return family and speeds; of paths, which are a machine's own business, the names alone.

    Raises:
        ConfigError: there is no family yet, or one of its files is damaged.
    """
    found = read_family(output)
    speed = output / SPEED
    return {
        "environment": found.get("environment"),
        "settings": _named(found.get("settings")),
        "rows": found["rows"],
        "speed": read_json(speed, ConfigError) if speed.is_file() else None,
    }


def markdown(table: Table) -> str:
    """Return a table in Markdown, details behind their cells in brackets.

    >>> from ms_eff.report.tables import Entry
    >>> print(markdown(Table(("member", "size"), ((Entry("a"), Entry("4", ("50 %",))),))))
    | member | size |
    |---|---|
    | a | 4 (50 %) |
    """
    lines = [f"| {' | '.join(table.columns)} |", f"|{'---|' * len(table.columns)}"]
    for row in table.rows:
        cells = (
            f"{entry.text} ({', '.join(entry.detail)})" if entry.detail else entry.text
            for entry in row
        )  # fmt: skip
        lines.append(f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the file and print the table; return 0, or 2 for a user's mistake."""
    parser = argparse.ArgumentParser(
        prog="python -m ms_eff.report.family_record", description=__doc__
    )
    parser.add_argument("output", type=Path, help="the family's folder")
    parser.add_argument("results", type=Path, help="JSON to write")
    options = parser.parse_args(arguments)
    try:
        found = record(options.output)
        parent = Path(str((found["settings"] or {}).get("parent", {}).get("path", "")))
        table = members_table(found["rows"], parent, speeds_of(options.output / SPEED))
        with replacing(options.results, SetupError, parents=True) as temporary:
            temporary.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    except UserError as error:
        print(f"family_record: {error}", file=sys.stderr)
        return 2
    print(markdown(table))
    return 0


def _named(settings: Any) -> Any:
    """Return settings with the names of files and folders in place of their paths.

    >>> _named({"parent": {"path": "/a/b.gguf"}, "files": ["c/d.txt"], "window": 4})
    {'parent': {'path': 'b.gguf'}, 'files': ['d.txt'], 'window': 4}
    """
    if isinstance(settings, Mapping):
        return {key: _named(value) for key, value in settings.items()}
    if isinstance(settings, list):
        return [_named(value) for value in settings]
    return Path(settings).name if isinstance(settings, str) and "/" in settings else settings


if __name__ == "__main__":
    sys.exit(main())
