"""Put the results of several runs (seeds of one config) into one small file for `results/`.

python -m ms_eff.bench.collect results/NAME.json runs/seed0 runs/seed1
"""

from __future__ import annotations

import json
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ms_eff.errors import ConfigError
from ms_eff.files import replacing
from ms_eff.results import difference, read_results

__all__ = ["collect", "main"]

_OWN = {"output", "seed"}  # what may differ between the runs of one table
_PLACES = {"root", "weights"}  # where things lie on a machine is nobody's business


def collect(runs: Sequence[Path]) -> dict[str, Any]:
    """Return one record of all runs: settings, environments, each stage's figures by seed.

    Raises:
        ConfigError: a run differs from the first in more than seed and folder, or is not judged by
            accuracy.
    """
    found = [read_results(run / "results.json") for run in runs]
    settings = [_settings(results["config"]) for results in found]
    for run, own in zip(runs, settings, strict=True):
        changed = difference(settings[0], own)
        if changed:
            raise ConfigError(f"{run}: not the same experiment as {runs[0]} ({changed})")
    return {
        "config": settings[0],
        "environments": [results["environment"] for results in found],
        "seeds": [results["config"]["seed"] for results in found],
        "stages": {stage: _stage(rows) for stage, rows in _scored(found).items()},
    }


def _settings(config: Any) -> Any:
    if isinstance(config, dict):
        places = _OWN | _PLACES
        return {key: _settings(value) for key, value in config.items() if key not in places}
    return config


def _scored(found: list[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """Return each stage's figures in every run; untrained networks have no score and are left out.

    >>> _scored([{"stages": {"whitened": {}, "trained": {"loss": 1.0, "accuracy": 0.5}}}])
    {'trained': [{'loss': 1.0, 'accuracy': 0.5}]}
    """
    stages = {
        stage: [results["stages"].get(stage, {}) for results in found]
        for stage in found[0]["stages"]
    }
    stages = {stage: rows for stage, rows in stages.items() if all("loss" in row for row in rows)}
    if any("accuracy" not in row for rows in stages.values() for row in rows):
        raise ConfigError("a record is of runs that are judged by accuracy; these are not")
    return stages


def _stage(rows: list[dict[str, Any]]) -> dict[str, Any]:
    accuracies = [row["accuracy"] for row in rows]
    curves = [row.get("curve") or [] for row in rows]
    return {
        "params": rows[0]["params"],
        "macs": rows[0]["macs"],
        "accuracy": accuracies,
        "accuracy_mean": statistics.fmean(accuracies),
        "accuracy_spread": max(accuracies) - min(accuracies),
        "training_seconds": [curve[-1]["seconds"] if curve else 0.0 for curve in curves],
        "curves": curves,
    }


def main(words: Sequence[str]) -> None:
    """Write the record of the named runs."""
    if len(words) < 2:
        raise ConfigError("expected a file to write and at least one run folder")
    target = Path(words[0])
    record = collect([Path(word) for word in words[1:]])
    with replacing(target, ConfigError) as path:
        path.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
