"""What low-rank variants cost and keep: dense training, then equal fine-tuning, seed by seed.

`python -m ms_eff.bench.lowrank_accuracy --data PATH` trains a dense network for each model and
seed, and fine-tunes every variant from those same weights, as ordinary runs (`Experiment`) of
configs made here. Each finished row is saved at once; the same command goes on where it stopped.
`python -m ms_eff.report.lowrank_accuracy` makes the table and the plot.
"""

from __future__ import annotations

import argparse
import os
import shlex
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ms_eff.bench.accuracy_runs import (
    call,
    data_block,
    measure_missing,
    steady_seconds,
    training_seconds,
)
from ms_eff.bench.accuracy_sizes import (
    KIND,
    SIZES,
    VARIANTS,
    Case,
    Size,
    cases,
    make_config,
    make_size,
)
from ms_eff.bench.rows import Rows
from ms_eff.errors import PlanError
from ms_eff.train.interrupt import own_signals

if TYPE_CHECKING:
    from rich.console import Console

    from ms_eff.config import Config
    from ms_eff.experiment import Experiment

__all__ = ["main", "measure", "run"]

_MODULE = "ms_eff.bench.lowrank_accuracy"


def run(
    size: Size,
    data: Mapping[str, Any],
    work: Path,
    output: Path,
    command: str = "",
    console: Console | None = None,
) -> list[dict[str, Any]]:
    """Measure every row that `output` does not hold yet, saving each at once; return all rows.

    Args:
        size: models, seeds, images, epochs.
        data: the `data` block's `name` and `root`.
        work: folder of the runs: `MODEL/seedN/VARIANT`. A dense run is found by its folder.
        output: JSON with the rows.
        command: for the record.
        console: where to tell what happens.

    Raises:
        ConfigError: `output` or `work` was made with other settings.
        Interrupted: SIGINT or SIGTERM came during training; everything is saved.
    """
    settings = {"data": data["name"], **size.model_dump(mode="json")}
    rows = Rows(output, KIND, settings, command)
    speak = console.print if console is not None else lambda _: None
    return measure_missing(
        rows,
        cases(size),
        lambda case: measure(case, size, data, work, console),
        lambda row: speak(_line(row)),
    )


def measure(
    case: Case, size: Size, data: Mapping[str, Any], work: Path, console: Console | None = None
) -> dict[str, Any]:
    """Train one row's network, its dense network first where that is missing; return the row.

    Where the library refuses (no bottleneck to merge, no layer that a search would decompose), the
    row holds its reason as `note` and no accuracy.
    """
    from ms_eff.experiment import Experiment

    began = time.perf_counter()
    dense = _config(case.dense(), size, data, work)
    first = Experiment(dense, f"python -m {_MODULE}", console)
    first.compress()  # without methods: dense training only, or nothing if it is there
    row: dict[str, Any] = {
        "model": case.model,
        "width": case.width,
        "seed": case.seed,
        "variant": case.variant,
        "train_images": len(first.data.train),
    }
    if case.variant == "dense":
        done, stage, note = first, "dense", ""
    else:
        config = _config(case, size, data, work)
        hand_over(dense.output, config.output)
        done, stage, note = _fine_tuned(config, console)
    row |= {"start": _digest(done.folder), **_scores(done, stage, note)}
    return row | {"wall_seconds": round(time.perf_counter() - began, 1), "note": note}


def hand_over(source: Path, target: Path) -> None:
    """Give a run's dense stage to another run's folder, which then takes it for its own.

    Raises:
        CheckpointError: the dense network is missing or damaged.
    """
    from ms_eff.results import Results, read_results
    from ms_eff.train import checkpoint

    if (target / "results.json").exists():
        return
    found = checkpoint.read(source / "models" / "dense")
    state = {key: found.state[key] for key in ("model", "plans")}
    checkpoint.save(target / "models" / "dense", found.weights, state)
    before = read_results(source / "results.json")
    results = Results(target / "results.json", before["environment"], before["config"])
    results.stages = {"dense": before["stages"]["dense"]}
    results.write()


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure what is missing; return 0, 2 for a user's mistake, 130 or 143 when stopped."""
    words = sys.argv[1:] if arguments is None else list(arguments)
    options = _parser().parse_args(words)
    command = shlex.join(["python", "-m", _MODULE, *words])

    def job(console: Console) -> None:
        size = make_size(
            options.size,
            models=dict(options.models) if options.models else None,
            seeds=options.seeds,
            train_images=options.images,
            test_images=options.test_images,
            batch_size=options.batch,
            pretrain_epochs=options.epochs,
            fine_tune_epochs=options.fine_tune_epochs,
        )
        run(size, data_block(options.data), options.work, options.output, command, console)

    code = call("lowrank_accuracy", command, options.work, job)
    if code:
        return code
    print(f"{options.output}: done; python -m ms_eff.report.lowrank_accuracy {options.output}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=f"python -m {_MODULE}",
        description="Accuracy, seconds and parameters of low-rank variants after equal "
        f"fine-tuning: {', '.join(VARIANTS)}.",
    )
    add = parser.add_argument
    add("--data", required=True, help="folder of CIFAR-10's binary files, or `digits` (embedded)")
    add("--size", choices=list(SIZES), default="hour", help="default: hour, on two CPU cores")
    add("--output", type=Path, default=Path("results/lowrank_accuracy_cifar10.json"))
    add("--work", type=Path, default=Path("runs/lowrank_accuracy"), help="folder of the runs")
    add("--models", nargs="+", type=_model, metavar="NAME:WIDTH", help="in place of the size's")
    add("--seeds", nargs="+", type=int)
    add("--images", type=int, help="training images")
    add("--test-images", type=int)
    add("--batch", type=int, help="images a step; the learning rates follow it")
    add("--epochs", type=int, help="of dense training")
    add("--fine-tune-epochs", type=int, help="of every variant; an even number")
    return parser


def _model(word: str) -> tuple[str, int]:
    name, _, width = word.partition(":")
    return name, int(width)  # argparse words the complaint


def _config(case: Case, size: Size, data: Mapping[str, Any], work: Path) -> Config:
    folder = work / case.folder
    folder.mkdir(parents=True, exist_ok=True)
    return make_config(case, size, data, folder)


def _fine_tuned(config: Config, console: Console | None) -> tuple[Experiment, str, str]:
    """Return the run after its training, the name of its stage, and why there is none."""
    from ms_eff.experiment import Experiment

    experiment = Experiment(config, f"python -m {_MODULE}", console)
    try:
        experiment.train()
    except PlanError as error:
        return experiment, "", str(error)
    return experiment, "fine-tuned", ""


def _scores(done: Experiment, stage: str, note: str) -> dict[str, Any]:
    """Return what a run's results say of its last stage; all None where there is a note."""
    found: dict[str, Any] = {} if note else done.results.stages[stage]
    before = "decomposed" if "decomposed" in done.results.stages else "dense"
    report = done.results.methods.get("lowrank", {})
    seconds = training_seconds(found.get("curve", ()), done.config.data.batch_size)
    steady = steady_seconds(seconds)
    start = None if note or stage == "dense" else done.results.stages[before]["accuracy"]
    return {
        "accuracy_before": start,
        "accuracy": found.get("accuracy"),
        "loss": found.get("loss"),
        "test_images": found.get("samples"),
        "params": found.get("params"),
        "macs": found.get("macs"),
        "decomposed": report.get("decomposed", 0),
        "whole": report.get("skipped"),
        "epochs": len(seconds),
        "seconds": round(sum(seconds), 2) if seconds else None,
        "steady_seconds": None if steady is None else round(steady, 2),
    }


def _digest(folder: Path) -> str:
    """Return the beginning of the checksum of the dense weights that a run starts from."""
    from ms_eff.train import checkpoint

    sums: dict[str, str] = checkpoint.read(folder / "models" / "dense").state["files"]
    return sums[checkpoint.WEIGHTS][:16]


def _line(row: Mapping[str, Any]) -> str:
    where = f"{row['model']} seed {row['seed']} {row['variant']}"
    if row["note"]:
        return f"{where}: {row['note']}"
    return f"{where}: accuracy {row['accuracy']:.4f}, {row['seconds']:.0f} s of training"


if __name__ == "__main__":
    own_signals()
    os.environ.setdefault("GLOG_v", "3")  # MindSpore's own warnings would bury the progress
    sys.exit(main())
