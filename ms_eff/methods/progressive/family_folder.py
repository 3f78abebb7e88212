"""The output folder of a family: what it holds, and which settings it is bound to.

output/
  config.json            the settings this folder was made with
  statistics/            second moments of the parent's layers, by layer (statistics-<ratio>-<pass>/
                         of what it was truncated to)
  factors/               nested factors of its matrices, by layer (factors-<ratio>/ after training)
  steps/<ratio>/         a member before its training, train/<ratio>/ its checkpoints
  members/<ratio>/       a member: weights, plan, config, tokenizer, what it scores
  family.json            a row a member, the parent first
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ms_eff.bench import environment
from ms_eff.errors import ConfigError
from ms_eff.files import read_json, replacing
from ms_eff.methods.progressive.settings import FamilyConfig
from ms_eff.results import difference
from ms_eff.runtime import Worker
from ms_eff.train.workers import wait_for_all

__all__ = ["FamilyFolder"]

_POLL_SECONDS = 0.5
_FOLDERS = ("statistics*", "factors*", "steps", "train", "members")


class FamilyFolder:
    """A family's folder, which settings of another one may not write into.

    Args:
        config: of the family.
        command: the line that started this, for the results.
        worker: this one; the first alone writes.
    """

    def __init__(self, config: FamilyConfig, command: str, worker: Worker) -> None:
        self.config, self.command, self.worker = config, command, worker
        self.path = config.output

    def of(self, index: int, kind: str = "members") -> Path:
        """Return the folder of a member, by the place of its ratio."""
        return self.path / kind / f"{self.config.progressive.ratios[index]:g}"

    def claim(self, fresh: bool) -> None:
        """Refuse a folder made with other settings, or not by a family; forget it if asked to.

        Raises:
            ConfigError: it is one.
        """
        if self.worker.rank == 0:
            self._claim(fresh)
        if fresh:
            wait_for_all()  # none reads what the first is still deleting

    def write(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Write family.json."""
        if self.worker.rank > 0:
            return
        content = {
            "environment": environment.describe(self.command, self.config.seed),
            "settings": self.config.to_dict(),
            "rows": list(rows),
        }
        with replacing(self.path / "family.json") as temporary:
            temporary.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")

    def wait_for(self, path: Path) -> None:
        """Let the workers of a job wait for what the first of them writes."""
        while self.worker.rank > 0 and not path.exists():
            time.sleep(_POLL_SECONDS)

    def _claim(self, fresh: bool) -> None:
        record = self.path / "config.json"
        settings = _bound(self.config)
        self.path.mkdir(parents=True, exist_ok=True)
        self._check_ours(record)
        if fresh:
            for pattern in _FOLDERS:
                for folder in self.path.glob(pattern):
                    shutil.rmtree(folder, ignore_errors=True)
            for name in ("config.json", "parent.json", "family.json"):
                (self.path / name).unlink(missing_ok=True)
        elif record.exists():
            changed = difference(read_json(record, ConfigError), settings)
            if changed:
                raise ConfigError(
                    f"output = {self.path}: made with other settings ({changed}); choose another "
                    "output=FOLDER, or --fresh to start over"
                )
        with replacing(record) as temporary:
            temporary.write_text(json.dumps(settings, indent=1), encoding="utf-8")

    def _check_ours(self, record: Path) -> None:
        """Refuse a folder of other things: starting over would delete what has our names."""
        if record.exists():
            found = read_json(record, ConfigError)
            ours = isinstance(found, dict) and {"parent", "evaluation", "methods"} <= set(found)
            what = "" if ours else "its config.json is no family's"
        else:
            names = ("steps", "train", "members", "parent.json", "family.json")
            held = [name for name in names if (self.path / name).exists()]
            what = f"it holds '{held[0]}' and no config.json of a family" if held else ""
        if what:
            raise ConfigError(f"output = {self.path}: {what}; choose another output=FOLDER")


def _bound(config: FamilyConfig) -> dict[str, Any]:
    """Return the settings that a folder is bound to: of a training-free family, ratios may grow."""
    settings = config.to_dict()
    for name in ("output", "device", "parallel"):
        del settings[name]
    if not config.progressive.tokens:
        settings["methods"][0]["progressive"]["ratios"] = "any"
    if settings["recovery"]:
        del settings["recovery"]["save_every"], settings["recovery"]["recompute"]
    return settings
