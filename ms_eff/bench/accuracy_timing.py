"""The time a step of each variant of the accuracy experiment takes, on a machine left alone.

`python -m ms_eff.bench.accuracy_timing ROWS.json --work FOLDER` takes the networks of the runs that
made the rows, times their training steps in turns, and writes ROWS_time.json. The experiment itself
may then share the machine with anything.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ms_eff.bench import environment
from ms_eff.bench.accuracy_sizes import KIND, VARIANTS, Case
from ms_eff.bench.rows import read_rows
from ms_eff.bench.timers import Work, compare, summary
from ms_eff.errors import ConfigError, UserError
from ms_eff.files import replacing
from ms_eff.runtime import DeviceSettings, setup

if TYPE_CHECKING:
    from mindspore import nn

__all__ = ["main", "timed"]

_WARMUP = 3


def timed(
    rows: Sequence[Mapping[str, Any]], work: Path, batch: int, runs: int, seed: int | None = None
) -> dict[str, Any]:
    """Return, by model and variant, the median and spread of a training step in milliseconds.

    Sequential freezing is the mean of its two phases, pair by pair; static freezing is its one.

    Args:
        rows: of the experiment.
        work: folder of the runs.
        batch: images a step.
        runs: timed steps of each variant, after three that are thrown away.
        seed: whose networks are timed; None: the first in the rows.

    Raises:
        CheckpointError: a run's network is not there.
    """
    found: dict[str, Any] = {}
    for model in dict.fromkeys(row["model"] for row in rows):
        own = [row for row in rows if row["model"] == model and row["accuracy"] is not None]
        chosen = own[0]["seed"] if seed is None else seed
        found[model] = _model([row for row in own if row["seed"] == chosen], work, batch, runs)
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Time the networks of an experiment's runs; return 0, or 2 for a user's mistake."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("rows", type=Path, help="JSON of `python -m ms_eff.bench.lowrank_accuracy`")
    parser.add_argument("--work", type=Path, required=True, help="folder of its runs")
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--seed", type=int, help="whose networks; default: the first of the rows")
    words = sys.argv[1:] if arguments is None else list(arguments)
    options = parser.parse_args(words)
    setup(DeviceSettings())
    try:
        results = read_rows(options.rows, KIND)
        batch = results["settings"]["batch_size"]
        seeds = {row["seed"] for row in results["rows"]}
        if options.seed is not None and options.seed not in seeds:
            raise ConfigError(f"--seed {options.seed}: {options.rows} has {sorted(seeds)}")
        content = {
            "environment": environment.describe(
                ["python", "-m", "ms_eff.bench.accuracy_timing", *words]
            ),
            "batch": batch,
            "steps": timed(results["rows"], options.work, batch, options.runs, options.seed),
        }
        path = options.rows.with_name(f"{options.rows.stem}_time.json")
        with replacing(path, ConfigError) as temporary:
            temporary.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    except UserError as error:
        print(f"accuracy_timing: {error}", file=sys.stderr)
        return 2
    print(f"{path}: done")
    return 0


def _model(
    rows: Sequence[Mapping[str, Any]], work: Path, batch: int, runs: int
) -> dict[str, dict[str, Any]]:
    import mindspore as ms
    from mindspore import Tensor

    from ms_eff.bench.modes import training

    candidates: dict[str, Work] = {}
    with ExitStack() as borrowed:
        for row in rows:
            network = _network(row, work)
            borrowed.enter_context(training(network))
            shape = (batch, network.conv1.weight.shape[1], 32, 32)
            images = Tensor(np.random.default_rng(0).standard_normal(shape, dtype=np.float32))
            labels = Tensor(np.arange(batch) % 10, ms.int32)
            for phase, step in _steps(row["variant"], network, _WARMUP + runs).items():
                step.set_train(True)
                candidates[f"{row['variant']}/{phase}"] = _call(step, images, labels)
        samples = compare(candidates, _WARMUP, runs).samples
    found = {}
    for row in rows:
        phases = [taken for name, taken in samples.items()
                  if name.partition("/")[0] == row["variant"]]  # fmt: skip
        found[row["variant"]] = summary(np.mean(phases, axis=0)).to_dict()
    return found


def _network(row: Mapping[str, Any], work: Path) -> nn.Cell:
    from ms_eff.train import checkpoint

    case = Case(row["model"], row["width"], row["seed"], row["variant"])
    stage = "dense" if row["variant"] == "dense" else "fine-tuned"
    return checkpoint.rebuild(work / case.folder / "models" / stage)


def _steps(variant: str, network: nn.Cell, runs: int) -> dict[str, Any]:
    """Return the compiled steps that a variant's epochs take in turn, by phase."""
    from ms_eff.bench.steps import plain_step
    from ms_eff.methods.lowrank.freezing import frozen_set, trained_weights
    from ms_eff.methods.lowrank.settings import make_settings
    from ms_eff.train.settings import TrainSettings

    settings = TrainSettings(optimizer="momentum", nesterov=True)
    given = VARIANTS[variant]
    freeze = make_settings(given).freeze if given else None
    if freeze is None:
        return {"all": plain_step(network, settings, runs)}
    weights = tuple(network.trainable_params())
    return {
        phase: plain_step(network, settings, runs, trained_weights(network, weights, phase))
        for phase in dict.fromkeys(frozen_set(freeze, epoch) for epoch in range(2))
    }


def _call(step: Any, images: Any, labels: Any) -> Work:
    return lambda: step(images, labels)


if __name__ == "__main__":
    sys.exit(main())
