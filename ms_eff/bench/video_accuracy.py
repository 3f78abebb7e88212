"""Accuracy of all variants on pictures in motion, after equal training.

`python -m ms_eff.bench.video_accuracy --data PATH` trains `eco_lite_small` from scratch for every
task, seed and variant of a size, as ordinary runs (`Experiment`). Each finished row is saved at
once; the same command goes on where it stopped, and prints the table. Speeds in it are those that
`ms_eff.bench.video_speed` recorded of a network of the same size, so that other work may run beside
this.
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

from ms_eff.bench.accuracy_runs import call, changed_size, measure_missing
from ms_eff.bench.rows import Rows, read_rows
from ms_eff.bench.video_sizes import KIND, SIZES, Case, Size, cases, make_config
from ms_eff.bench.video_speed import KIND as SPEED
from ms_eff.bench.video_tables import accuracy_lines, accuracy_verdicts
from ms_eff.train.interrupt import own_signals

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["main", "measure", "run"]

_MODULE = "ms_eff.bench.video_accuracy"


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
        size: tasks, seeds, clips, epochs.
        data: the `data` block's `name` and `root`.
        work: folder of the runs: `TASK/seedN/VARIANT`.
        output: JSON with the rows.
        command: for the record.
        console: where to tell what happens.

    Raises:
        ConfigError: `output` or `work` was made with other settings.
        Interrupted: SIGINT or SIGTERM came during training; everything is saved.
    """
    settings = {"data": data["name"], **size.model_dump(mode="json")}

    def tell(row: Mapping[str, Any]) -> None:
        if console is not None:
            name = f"{row['task']} seed {row['seed']} {row['variant']}"
            console.print(f"{name}: accuracy {row['accuracy']:.4f}, {row['seconds']:.0f} s")

    return measure_missing(
        Rows(output, KIND, settings, command),
        cases(size),
        lambda case: measure(case, size, data, work, console),
        tell,
    )


def measure(
    case: Case, size: Size, data: Mapping[str, Any], work: Path, console: Console | None = None
) -> dict[str, Any]:
    """Train one row's network and return the row."""
    from ms_eff.experiment import Experiment

    folder = work / case.folder
    folder.mkdir(parents=True, exist_ok=True)
    began = time.perf_counter()
    done = Experiment(make_config(case, size, data, folder), f"python -m {_MODULE}", console)
    found = done.train().stages["trained"]
    seconds = time.perf_counter() - began
    return {
        "task": case.task,
        "seed": case.seed,
        "variant": case.variant,
        "accuracy": found["accuracy"],
        "loss": found["loss"],
        "chance": 1 / done.data.num_classes,
        "train_clips": len(done.data.train),
        "test_clips": found["samples"],
        "params": found["params"],
        "macs": found["macs"],
        "seconds": round(seconds, 1),
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure what is missing; return 0, 2 for a user's mistake, 130 or 143 when stopped."""
    words = sys.argv[1:] if arguments is None else list(arguments)
    options = _parser().parse_args(words)
    command = shlex.join(["python", "-m", _MODULE, *words])
    changes = {
        "tasks": dict(options.tasks) if options.tasks else None, "seeds": options.seeds,
        "variants": options.variants, "train_clips": options.clips,
        "test_clips": options.test_clips, "width": options.width,
    }  # fmt: skip
    data = {"name": "motion_digits"}
    if options.data != "digits":
        data = {"name": "motion_cifar10", "root": options.data}

    def job(console: Console) -> None:
        size = changed_size(SIZES[options.size], changes)
        rows = run(size, data, options.work, options.output, command, console)
        speeds = _speeds(options.speed, size)
        print("\n".join((*accuracy_lines(rows, speeds), "", *accuracy_verdicts(rows, speeds))))

    return call("video_accuracy", command, options.work, job)


def _speeds(path: Path, size: Size) -> list[dict[str, Any]]:
    """Return the rows of a speed file; none, and a line, if it is missing or of another network."""
    if path.exists():
        found = read_rows(path, SPEED)
        has = found["settings"]
        if (has["frames"], has.get("width")) == (size.frames, size.width):
            return list(found["rows"])
    wanted = f"--model eco_lite_small --image 32 --frames {size.frames} --width {size.width}"
    print(f"no speeds: python -m ms_eff.bench.video_speed {wanted} --output {path} records them")
    return []


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=f"python -m {_MODULE}", description=__doc__)
    add = parser.add_argument
    add("--data", required=True, help="folder of CIFAR-10's binary files, or `digits` (embedded)")
    add("--size", choices=list(SIZES), default="hour", help="default: hour, on two CPU cores")
    add("--output", type=Path, default=Path("results/video_accuracy.json"))
    add("--speed", type=Path, default=Path("results/video_speed_small.json"), help="by video_speed")
    add("--work", type=Path, default=Path("runs/video_accuracy"), help="folder of the runs")
    add("--tasks", nargs="+", type=_task, metavar="TASK:EPOCHS", help="direction, reversal")
    add("--seeds", nargs="+", type=int)
    add("--variants", nargs="+", metavar="VARIANT", help="these only")
    add("--clips", type=int, help="of training")
    add("--test-clips", type=int)
    add("--width", type=int, help="of the network")
    return parser


def _task(word: str) -> tuple[str, int]:
    name, _, epochs = word.partition(":")
    return name, int(epochs)  # argparse words the complaint


if __name__ == "__main__":
    own_signals()
    os.environ.setdefault("GLOG_v", "3")  # MindSpore's own warnings would bury the progress
    sys.exit(main())
