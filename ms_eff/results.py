"""`results.json` of a run: environment, config, stages, methods; written whole or not at all."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ms_eff.errors import ConfigError, SetupError
from ms_eff.files import replacing

__all__ = ["Results", "difference"]


class Results:
    """What a run has measured so far; an existing file is taken up.

    Args:
        path: the JSON file.
        environment: versions, device, date, command, seed of this call.
        config: the settings, as JSON.
    """

    def __init__(self, path: Path, environment: dict[str, Any], config: dict[str, Any]) -> None:
        self.path = path
        self.environment, self.config = environment, config
        before = read_results(path) if path.exists() else {}
        self.stages: dict[str, dict[str, Any]] = before.get("stages", {})
        self.methods: dict[str, dict[str, Any]] = before.get("methods", {})

    def to_dict(self) -> dict[str, Any]:
        """Return everything as JSON-able values."""
        return {
            "environment": self.environment,
            "config": self.config,
            "stages": self.stages,
            "methods": self.methods,
        }

    def write(self) -> None:
        """Write the file under a temporary name and rename it."""
        with replacing(self.path, SetupError) as path:
            path.write_text(json.dumps(self.to_dict(), indent=1), encoding="utf-8")


def read_results(path: Path) -> dict[str, Any]:
    """Read a results file; raises ConfigError that names it if it is missing or damaged."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ConfigError(f"{path}: no results yet; run `ms-eff train` first") from error
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: damaged ({error}); delete it and run again") from error
    if not isinstance(found, dict):
        raise ConfigError(f"{path}: damaged (not a mapping); delete it and run again")
    return found


def difference(before: Any, now: Any, key: str = "") -> str:
    """Name the first setting that differs, as `key: before -> now`; empty if none does.

    >>> difference({"train": {"epochs": 3}}, {"train": {"epochs": 5}})
    'train.epochs: 3 -> 5'
    """
    if isinstance(before, dict) and isinstance(now, dict):
        for name in sorted(before.keys() | now.keys()):
            found = difference(before.get(name), now.get(name), f"{key}.{name}" if key else name)
            if found:
                return found
        return ""
    return "" if before == now else f"{key}: {before} -> {now}"
