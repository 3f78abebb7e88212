"""The rows of the accuracy experiment on disk: saved one by one, taken up by the next call."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ms_eff.bench import environment
from ms_eff.bench.accuracy_sizes import Case, Size
from ms_eff.errors import ConfigError, SetupError
from ms_eff.files import read_json, replacing
from ms_eff.results import difference

__all__ = ["FORMAT", "Rows", "read_rows"]

FORMAT = "ms_eff.lowrank_accuracy/1"


class Rows:
    """What has been measured so far.

    Args:
        path: the JSON file; one of the same settings is taken up. Its folder is made.
        size: settings of the experiment; seeds and models may be added from call to call.
        data: name of the data set.
        command: the line that started this call.

    Raises:
        ConfigError: the file was made with other settings, or is none of these.
    """

    def __init__(self, path: Path, size: Size, data: str, command: str = "") -> None:
        self.path, self.command = path, command
        self.settings = {"data": data, **size.model_dump(mode="json")}
        self.rows: list[dict[str, Any]] = []
        self.calls: list[dict[str, Any]] = []
        self._called = False
        if path.exists():
            self._take_up(read_rows(path))

    def find(self, case: Case) -> dict[str, Any] | None:
        """Return the row of that case, or None."""
        wanted = (case.model, case.seed, case.variant)
        return next((r for r in self.rows if (r["model"], r["seed"], r["variant"]) == wanted), None)

    def add(self, row: dict[str, Any]) -> None:
        """Append a row and write the file, whole or not at all.

        Raises:
            SetupError: it cannot be written; what it held stays.
        """
        if not self._called:  # a call that adds nothing leaves no trace
            self.calls.append(environment.describe(self.command))
            self._called = True
        self.rows.append({**row, "call": len(self.calls) - 1})
        self.path.parent.mkdir(parents=True, exist_ok=True)
        content = {
            "format": FORMAT,
            "settings": self.settings,
            "calls": self.calls,
            "rows": self.rows,
        }
        with replacing(self.path, SetupError) as temporary:
            temporary.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")

    def _take_up(self, found: dict[str, Any]) -> None:
        before, asked = dict(found["settings"]), self.settings
        widths = {name: asked["models"].get(name, w) for name, w in before["models"].items()}
        now = {**asked, "seeds": before["seeds"], "models": widths}
        changed = difference(before, now)
        if changed:
            raise ConfigError(
                f"--output {self.path}: made with other settings ({changed}); name another file, "
                "and another --work"
            )
        asked["models"] = {**before["models"], **asked["models"]}
        asked["seeds"] = list(dict.fromkeys((*before["seeds"], *asked["seeds"])))
        self.rows, self.calls = found["rows"], found["calls"]


def read_rows(path: str | Path) -> dict[str, Any]:
    """Return `settings`, `calls` and `rows` of such a file.

    Raises:
        ConfigError: missing, damaged, or another kind of file.
    """
    found = read_json(path, ConfigError)
    if not isinstance(found, dict) or found.get("format") != FORMAT:
        raise ConfigError(
            f"{path}: not rows of `python -m ms_eff.bench.lowrank_accuracy` ({FORMAT}); "
            "name the file that it wrote"
        )
    return found
