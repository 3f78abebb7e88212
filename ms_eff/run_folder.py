"""The output folder of a run: what it holds, and which settings it is bound to.

output/
  config.json          the settings this folder was made with
  pretrain/, train/    logs and checkpoints
  models/<stage>/      a loadable checkpoint a stage: dense, decomposed, fine-tuned
  results.json         what was measured
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from ms_eff.config import Config
from ms_eff.errors import ConfigError, SetupError
from ms_eff.files import replacing
from ms_eff.results import difference
from ms_eff.runtime import Worker
from ms_eff.train.settings import TrainSettings
from ms_eff.train.workers import wait_for_all

__all__ = ["RunFolder", "bound", "made_with"]

_TOGETHER = "samples_a_step"

# what may change between two calls on the same folder without making it another run
_LOGGING = dict.fromkeys(
    (
        *("log_every", "tensorboard", "save_every", "save_every_steps", "keep"),
        *("sink_size", "recompute"),
    ),
    True,
)
_FREE: dict[str, Any] = {
    **dict.fromkeys(("output", "bench", "export", "device"), True),
    "data": dict.fromkeys(
        # the samples of a step are bound by `_TOGETHER`, however the workers share them
        ("root", "workers", "eval_batch_size", "batch_size", "global_batch_size"),
        True,
    ),
    "pretrain": _LOGGING,
    "train": _LOGGING,
}


class RunFolder:
    """A run's folder, which settings of another run may not write into.

    Args:
        config: of the run; its data settings are those of one worker.
        worker: this one; the first alone writes.
    """

    def __init__(self, config: Config, worker: Worker) -> None:
        self.config, self.worker = config, worker
        self.path = config.output

    def model(self, stage: str) -> Path:
        """Return where a stage's model is kept."""
        return self.path / "models" / stage

    def claim(self, fresh: bool) -> None:
        """Refuse a folder made with other settings; forget it if asked to.

        Raises:
            ConfigError: it was, or its record is damaged.
        """
        record, settings = self._record()
        if fresh:
            if record.exists() and self.worker.rank == 0:
                for name in ("models", "pretrain", "train", "export"):
                    shutil.rmtree(self.path / name, ignore_errors=True)
                (self.path / "results.json").unlink(missing_ok=True)
                record.unlink()
            wait_for_all()  # none reads what the first is still deleting
        elif record.exists() and self._holds_something():
            changed = difference(made_with(_read_record(record), self.worker.size), settings)
            if changed:
                same = f"; data.global_batch_size={changed.split()[1]} keeps a step as it was"
                raise ConfigError(
                    f"output = {self.path}: made with other settings ({changed}"
                    f"{same if _TOGETHER in changed else ''}); "
                    "choose another output=FOLDER, or --fresh to start over"
                )

    def sign(self) -> None:
        """Mark the folder as made with these settings; from here on it holds something."""
        record, settings = self._record()
        if self.worker.rank == 0:
            with replacing(record, SetupError, parents=True) as path:
                path.write_text(json.dumps(settings, indent=1), encoding="utf-8")

    def _holds_something(self) -> bool:
        """Tell whether there is a model or a checkpoint that other settings could not go on from.

        A run that failed before its first one is to be mended and called again.
        """
        kept = ("models/*/state.json", "*/checkpoints/*/state.json")
        return any(next(self.path.glob(pattern), None) for pattern in kept)

    def _record(self) -> tuple[Path, dict[str, Any]]:
        """Return where the settings of this folder are kept, and what they are now."""
        settings = bound(self.config.to_dict())
        settings["data"][_TOGETHER] = self.config.data.batch_size * self.worker.size
        return self.path / "config.json", settings


def bound(settings: Any, free: Any = _FREE) -> Any:
    """Return the settings without those that may change; also from records of older versions."""
    if not isinstance(settings, dict):
        return settings
    return {
        key: bound(value, free.get(key, {}))
        for key, value in settings.items()
        if free.get(key) is not True
    }


def made_with(record: dict[str, Any], workers: int) -> dict[str, Any]:
    """Return what a folder's record binds; keys that came later have their defaults."""
    defaults = TrainSettings().model_dump(mode="json")
    found = dict(record)
    for block in ("train", "pretrain"):
        if isinstance(found.get(block), dict):
            found[block] = {**defaults, **found[block]}
    kept = bound(found)
    batch = record.get("data", {}).get("batch_size", 0)
    kept.setdefault("data", {}).setdefault(_TOGETHER, batch * workers)
    return kept


def _read_record(path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise ConfigError(
            f"{path}: damaged ({error}); choose another output=FOLDER, or --fresh to start over"
        ) from error
