"""SwiftLearn beside what one would pick instead, on the same work: rows, seed by seed.

`python -m ms_eff.bench.swiftlearn sst2 --data PATH --minilm PATH` fine-tunes MiniLM on SST-2 with
every policy of `swiftlearn_sizes`; `... cifar10 --data PATH` trains a small ResNet from scratch.
Each finished row is saved at once; the same command goes on with the row that it stopped in.
`python -m ms_eff.report.swiftlearn_policies` makes the table and the plot.
"""

from __future__ import annotations

import argparse
import os
import shlex
import shutil
import sys
import time
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ms_eff.bench.accuracy_runs import call, changed_size, measure_missing, training_seconds
from ms_eff.bench.rows import Rows
from ms_eff.bench.sst2 import check_held_out, held_out
from ms_eff.bench.swiftlearn_sizes import (
    FULL,
    KIND,
    POLICIES,
    SIZES,
    TASKS,
    WARMUP,
    Case,
    Size,
    cases,
    make_config,
)
from ms_eff.train.interrupt import own_signals

if TYPE_CHECKING:
    from rich.console import Console

    from ms_eff.data.settings import DataSettings
    from ms_eff.experiment import Experiment
    from ms_eff.models.settings import ModelSettings

__all__ = ["main", "measure", "run", "seconds_of"]

_MODULE = "ms_eff.bench.swiftlearn"
# samples are recorded by number: the data are not ours to give
_THEIRS = ("png", "text")


def run(
    task: str,
    size: Size,
    where: Mapping[str, Path],
    work: Path,
    output: Path,
    command: str = "",
    console: Console | None = None,
    policies: Collection[str] = tuple(POLICIES),
) -> list[dict[str, Any]]:
    """Measure every row that `output` does not hold yet, saving each at once; return all rows.

    Args:
        task: one of `swiftlearn_sizes.TASKS`.
        size: seeds, samples, epochs.
        where: folders of the data set and, for sst2, of MiniLM's files.
        work: folder of the runs; each is deleted when its row is saved.
        output: JSON with the rows.
        command: for the record.
        console: where to tell what happens.
        policies: those wanted, beside full training.

    Raises:
        ConfigError: `output` was made with other settings.
        DataError: the test sentences of sst2 are missing or damaged.
        Interrupted: SIGINT or SIGTERM came during training; everything is saved.
    """
    rows = Rows(output, KIND, {"task": task, **size.model_dump(mode="json")}, command)

    def one(case: Case) -> dict[str, Any]:
        key = {column: getattr(case, column) for column in KIND.key}
        return {**key, **measure(case, size, where, work, console)}

    def tell(row: Mapping[str, Any]) -> None:
        case = Case(*(row[column] for column in KIND.key))
        shutil.rmtree(work / case.folder, ignore_errors=True)  # half a gigabyte a MiniLM
        if console is not None:
            console.print(_line(row))

    return measure_missing(rows, cases(task, size, policies), one, tell)


def measure(
    case: Case,
    size: Size,
    where: Mapping[str, Path],
    work: Path,
    console: Console | None = None,
) -> dict[str, Any]:
    """Train one row's network and return what it scored, took and saw."""
    from ms_eff.experiment import Experiment

    if case.task == "sst2":
        check_held_out(where)
    folder = work / case.folder
    folder.mkdir(parents=True, exist_ok=True)
    config = make_config(case, size, where, folder)
    # afresh: seconds that begin in the middle of an epoch are not those of an epoch
    done = Experiment(config, f"python -m {_MODULE}", console, fresh=True)
    began = time.perf_counter()
    done.train()
    wall = time.perf_counter() - began
    report = dict(done.results.methods.get("swiftlearn", {}))
    for ends in ("most_important", "least_important"):
        report[ends] = [
            {k: v for k, v in sample.items() if k not in _THEIRS} for sample in report.get(ends, [])
        ]
    samples = len(done.data.train)
    curve = done.results.stages[_stage(done)]["curve"]
    return {
        **_scores(case, done),
        "network": _network(config.model),
        "train_samples": samples,
        "whole_train_samples": _whole(config.data, samples),
        "samples_trained": report.get("samples_trained", size.epochs * samples),
        "samples_evaluated": report.get("samples_evaluated", 0),
        "closed_form": report.get("closed_form"),
        "steps": curve[-1]["step"],
        **seconds_of(case, curve, size.batch_size, report),
        "wall_seconds": round(wall, 2),
        "report": report,
    }


def seconds_of(
    case: Case, curve: Sequence[Mapping[str, Any]], batch_size: int, report: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the seconds of a row.

    `full_epoch_seconds` are those of an epoch on everything that compiles nothing: by them rows can
    be compared that the machine did not run at the same pace.

    Args:
        case: the row.
        curve: of its training.
        batch_size: samples a step.
        report: of the method; empty without one.
    """
    taken = training_seconds(curve, batch_size)
    # what is chosen as an epoch begins is in its seconds
    between = report.get("seconds_between_epochs", 0.0)
    full = taken[-1] if case.policy in (FULL, "infobatch") else taken[WARMUP - 1]
    return {
        "seconds": round(sum(taken) + between, 2),
        "selection_seconds": report.get("selection_seconds", 0.0),
        "compile_seconds": round(max(taken[0] - full, 0.0), 2),
        "full_epoch_seconds": round(full, 2),
        "epoch_seconds": [round(s, 2) for s in taken],
    }


def _stage(done: Experiment) -> str:
    return "fine-tuned" if done.config.model.weights else "trained"


def _scores(case: Case, done: Experiment) -> dict[str, Any]:
    """Return the accuracies, and of how many samples each is."""
    found = done.results.stages[_stage(done)]
    if case.task != "sst2":
        return {"test_accuracy": found["accuracy"], "test_samples": found["samples"]}
    test = held_out(done, _stage(done))
    return {
        "dev_accuracy": found["accuracy"],
        "dev_samples": found["samples"],
        "test_accuracy": test.accuracy,
        "test_samples": test.samples,
    }


def _network(model: ModelSettings) -> str:
    return model.name if model.width is None else f"{model.name}, width {model.width}"


def _whole(settings: DataSettings, samples: int) -> int:
    """Return how many training samples there are, of which a row may take some."""
    from ms_eff import data

    if settings.train_limit is None:
        return samples
    return len(data.build(settings.model_copy(update={"train_limit": None})).train)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure what is missing; return 0, 2 for a user's mistake, 130 or 143 when stopped."""
    words = sys.argv[1:] if arguments is None else list(arguments)
    options = _parser().parse_args(words)
    command = shlex.join(["python", "-m", _MODULE, *words])
    output = options.output or Path(f"results/swiftlearn_{options.task}.json")
    changes = {
        "seeds": options.seeds,
        "train_samples": options.samples,
        "test_samples": options.test_samples,
        "batch_size": options.batch,
        "epochs": options.epochs,
    }
    where = {"data": options.data, "minilm": options.minilm}
    work = options.work or Path("runs/swiftlearn", options.task)  # the tasks may run side by side

    def job(console: Console) -> None:
        size = changed_size(SIZES[options.task][options.size], changes)
        run(options.task, size, where, work, output, command, console, options.policies)

    code = call("swiftlearn", command, work, job)
    if code == 0:
        print(f"{output}: done; python -m ms_eff.report.swiftlearn_policies {output}")
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=f"python -m {_MODULE}",
        description="Accuracy and seconds of training on a share of the data, chosen by "
        "SwiftLearn, at random, or by InfoBatch, beside training on all of it.",
    )
    add = parser.add_argument
    add("task", choices=list(TASKS))
    add("--data", type=Path, required=True, help="folder of the data set; or `digits` for cifar10")
    add("--minilm", type=Path, default=Path("minilm"), help="folder of MiniLM's files, for sst2")
    add("--size", choices=("quick", "hour", "full"), default="hour")
    add("--output", type=Path, help="default: results/swiftlearn_TASK.json")
    add("--work", type=Path, help="folder of the runs; default: runs/swiftlearn/TASK")
    add("--seeds", nargs="+", type=int)
    add(
        "--policies",
        nargs="+",
        choices=[policy for policy in POLICIES if policy != FULL],
        default=tuple(POLICIES),
        help="beside full training (default: all)",
    )
    add("--samples", type=int, help="training samples")
    add("--test-samples", type=int)
    add("--batch", type=int, help="samples a step")
    add("--epochs", type=int)
    return parser


def _line(row: Mapping[str, Any]) -> str:
    scores = [f"{k[:-9]} {row[k]:.4f}" for k in ("dev_accuracy", "test_accuracy") if k in row]
    where = f"{row['task']} seed {row['seed']} {row['policy']} keep {row['keep']:g}"
    return f"{where}: accuracy {', '.join(scores)}, {row['seconds']:.0f} s of training"


if __name__ == "__main__":
    own_signals()
    os.environ.setdefault("GLOG_v", "3")  # MindSpore's own warnings would bury the progress
    sys.exit(main())
