"""What token skipping and grouped attention cost a small ViT, trained from scratch, seed by seed.

`python -m ms_eff.bench.vit_accuracy --data PATH` trains every variant for as many epochs, as
ordinary runs (`Experiment`) of configs made here. Each finished row is saved at once; the same
command goes on where it stopped. `python -m ms_eff.report.vit_accuracy` makes the tables and plots.
"""

from __future__ import annotations

import argparse
import os
import shlex
import statistics
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ms_eff.bench import rivals
from ms_eff.bench.accuracy_runs import (
    call,
    changed_size,
    data_block,
    measure_missing,
    training_seconds,
)
from ms_eff.bench.rows import Rows
from ms_eff.bench.vit_accuracy_sizes import KIND, SIZES, VARIANTS, Case, Size, cases, make_config
from ms_eff.train.interrupt import own_signals

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["main", "measure", "run"]

_MODULE = "ms_eff.bench.vit_accuracy"


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
        size: network, seeds, images, epochs.
        data: the `data` block's `name` and `root`.
        work: folder of the runs: `seedN/VARIANT`.
        output: JSON with the rows.
        command: for the record.
        console: where to tell what happens.

    Raises:
        ConfigError: `output` or `work` was made with other settings.
        Interrupted: SIGINT or SIGTERM came during training; everything is saved.
    """
    rows = Rows(output, KIND, {"data": data["name"], **size.model_dump(mode="json")}, command)
    speak = console.print if console is not None else lambda _: None
    return measure_missing(
        rows,
        cases(size),
        lambda case: measure(case, size, data, work, console),
        lambda row: speak(
            f"seed {row['seed']} {row['variant']}: accuracy {row['accuracy']:.4f}, "
            f"{row['epoch_seconds']:.1f} s an epoch"
        ),
    )


def measure(
    case: Case, size: Size, data: Mapping[str, Any], work: Path, console: Console | None = None
) -> dict[str, Any]:
    """Train one row's network and return the row.

    `epoch_seconds` is the median over the later half of the epochs: after the warm-up of token
    skipping, with everything compiled.
    """
    from ms_eff.experiment import Experiment

    began = time.perf_counter()
    folder = work / case.folder
    folder.mkdir(parents=True, exist_ok=True)
    config = make_config(case, size, data, folder)
    with rivals.known():
        experiment = Experiment(config, f"python -m {_MODULE}", console)
        found = experiment.train().stages["trained"]
    reports = experiment.results.methods.values()
    seconds = training_seconds(found["curve"], size.batch_size)
    return {
        "seed": case.seed,
        "variant": case.variant,
        "train_images": len(experiment.data.train),
        "test_images": found["samples"],
        "accuracy": found["accuracy"],
        "loss": found["loss"],
        "params": found["params"],
        "macs": found["macs"],
        "ideal_gain": next((r["ideal_gain"] for r in reports if "ideal_gain" in r), None),
        "epochs": len(seconds),
        "seconds": round(sum(seconds), 2),
        "epoch_seconds": round(statistics.median(seconds[len(seconds) // 2 :]), 3),
        "wall_seconds": round(time.perf_counter() - began, 1),
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure what is missing; return 0, 2 for a user's mistake, 130 or 143 when stopped."""
    words = sys.argv[1:] if arguments is None else list(arguments)
    options = _parser().parse_args(words)
    command = shlex.join(["python", "-m", _MODULE, *words])

    def job(console: Console) -> None:
        changes = {
            "dim": options.dim,
            "depth": options.depth,
            "reduced": options.reduced,
            "seeds": options.seeds,
            "train_images": options.images,
            "test_images": options.test_images,
            "batch_size": options.batch,
            "epochs": options.epochs,
        }
        size = changed_size(SIZES[options.size], changes)
        run(size, data_block(options.data), options.work, options.output, command, console)

    code = call("vit_accuracy", command, options.work, job)
    if code == 0:
        print(f"{options.output}: done; python -m ms_eff.report.vit_accuracy {options.output}")
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=f"python -m {_MODULE}",
        description="Accuracy, seconds an epoch and parameters of a small ViT, patch 4, after "
        f"equal epochs: {', '.join(VARIANTS)}.",
    )
    add = parser.add_argument
    add("--data", required=True, help="folder of CIFAR-10's binary files, or `digits` (embedded)")
    add("--size", choices=list(SIZES), default="hour", help="default: hour, on two CPU cores")
    add("--output", type=Path, default=Path("results/vit_accuracy_cifar10.json"))
    add("--work", type=Path, default=Path("runs/vit_accuracy"), help="folder of the runs")
    add("--dim", type=int, help="channels of a token")
    add("--depth", type=int, help="blocks")
    add("--reduced", type=int, help="blocks that dropped patches skip")
    add("--seeds", nargs="+", type=int)
    add("--images", type=int, help="training images")
    add("--test-images", type=int)
    add("--batch", type=int, help="images a step")
    add("--epochs", type=int, help="of every variant")
    return parser


if __name__ == "__main__":
    own_signals()
    os.environ.setdefault("GLOG_v", "3")  # MindSpore's own warnings would bury the progress
    sys.exit(main())
