"""The rows of an experiment on disk: saved one by one, taken up by the next call."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ms_eff.bench import environment
from ms_eff.errors import ConfigError, SetupError
from ms_eff.files import read_json, replacing
from ms_eff.results import difference

__all__ = ["Kind", "Rows", "read_rows"]


@dataclass(frozen=True)
class Kind:
    """One experiment's files.

    Attributes:
        name: of the module that measures, below `ms_eff.bench`; it stands in the file.
        key: columns that tell one row from another.
        growing: settings, lists or mappings, to which a later call may add entries. All others
            stay as they were.
    """

    name: str
    key: tuple[str, ...]
    growing: tuple[str, ...] = ("seeds",)

    @property
    def format(self) -> str:
        """What the file says it is."""
        return f"ms_eff.{self.name}/1"


class Rows:
    """What has been measured so far.

    Args:
        path: the JSON file; one of the same settings is taken up. Its folder is made.
        kind: of the experiment.
        settings: of this call, as JSON.
        command: the line that started this call.

    Raises:
        ConfigError: the file was made with other settings, or is none of these.
    """

    def __init__(
        self, path: Path, kind: Kind, settings: Mapping[str, Any], command: str = ""
    ) -> None:
        self.path, self.kind, self.command = path, kind, command
        self.settings = dict(settings)
        self.rows: list[dict[str, Any]] = []
        self.calls: list[dict[str, Any]] = []
        self._called = False
        if path.exists():
            self._take_up(read_rows(path, kind))

    def find(self, **wanted: Any) -> dict[str, Any] | None:
        """Return the row of that key, every column of it given; or None.

        >>> Rows(Path("none.json"), Kind("demo", ("model", "seed")), {}).find(model="a", seed=0)
        """
        values = [wanted[column] for column in self.kind.key]
        return next((r for r in self.rows if [r[c] for c in self.kind.key] == values), None)

    def add(self, row: Mapping[str, Any]) -> None:
        """Append a row and write the file, whole or not at all.

        Raises:
            SetupError: it cannot be written; what it held stays.
        """
        if not self._called:  # a call that adds nothing leaves no trace
            self.calls.append(environment.describe(self.command))
            self._called = True
        self.rows.append({**row, "call": len(self.calls) - 1})
        self.save()

    def join(self, path: Path) -> None:
        """Append another file's rows and calls; `save` writes them.

        Raises:
            ConfigError: it was made with other settings, or has a row of which there is one.
        """
        found = read_rows(path, self.kind)
        self._grow(found["settings"], f"{path}", "it is another experiment")
        for row in found["rows"]:
            key = {column: row[column] for column in self.kind.key}
            if self.find(**key) is not None:
                raise ConfigError(f"{path}: a row of {key} is there already; leave one file out")
            self.rows.append({**row, "call": row["call"] + len(self.calls)})
        self.calls += found["calls"]

    def save(self) -> None:
        """Write the file, whole or not at all.

        Raises:
            SetupError: it cannot be written; what it held stays.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True)
        content = {
            "format": self.kind.format,
            "settings": self.settings,
            "calls": self.calls,
            "rows": self.rows,
        }
        with replacing(self.path, SetupError) as temporary:
            temporary.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")

    def _take_up(self, found: dict[str, Any]) -> None:
        self._grow(
            found["settings"], f"--output {self.path}", "name another file, and another --work"
        )
        self.rows, self.calls = found["rows"], found["calls"]

    def _grow(self, settings: Mapping[str, Any], whose: str, remedy: str) -> None:
        """Take up a file's settings, where it may have more than ours."""
        before, asked = dict(settings), self.settings
        for name in self.kind.growing:
            asked[name] = _grown(before[name], asked[name])
            # an entry that both calls name must still mean the same
            before[name] = _grown(asked[name], before[name])
        changed = difference(before, asked)
        if changed:
            raise ConfigError(f"{whose}: made with other settings ({changed}); {remedy}")


def read_rows(path: str | Path, kind: Kind) -> dict[str, Any]:
    """Return `settings`, `calls` and `rows` of such a file.

    Raises:
        ConfigError: missing, damaged, or another kind of file.
    """
    found = read_json(path, ConfigError)
    whole = isinstance(found, dict) and found.keys() >= {"format", "settings", "calls", "rows"}
    if not whole or found["format"] != kind.format:
        raise ConfigError(
            f"{path}: not rows of `python -m ms_eff.bench.{kind.name}` ({kind.format}); "
            "name the file that it wrote"
        )
    return found


def _grown(first: Any, second: Any) -> Any:
    """Return the entries of both, `first`'s in front; of a mapping, `second`'s values.

    >>> _grown([1, 2], [2, 3]), _grown({"a": 1}, {"a": 2, "b": 3})
    ([1, 2, 3], {'a': 2, 'b': 3})
    """
    if isinstance(first, dict):
        return {**first, **second}
    return list(dict.fromkeys((*first, *second)))
