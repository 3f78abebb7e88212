"""Seven ways to train a small encoder beside plain fine-tuning: accuracy and seconds, by seed.

`python -m ms_eff.bench.distillation --data PATH --minilm PATH` fine-tunes MiniLM on SST-2, cuts the
pre-trained network to half of its blocks, and trains this student by every method of
`distillation_sizes`. Each finished row is saved at once; the same command goes on where it stopped,
and prints the table at the end.
"""

from __future__ import annotations

import argparse
import os
import shlex
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ms_eff.bench.accuracy_runs import call, changed_size, measure_missing, training_seconds
from ms_eff.bench.distillation_sizes import (
    KIND,
    PLAIN,
    SIZES,
    TEACHER,
    Case,
    Size,
    cases,
    make_config,
)
from ms_eff.bench.rows import Rows
from ms_eff.bench.sst2 import check_held_out, held_out
from ms_eff.train.interrupt import own_signals

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["main", "measure", "run"]

_MODULE = "ms_eff.bench.distillation"
# every run that begins with a weight file ends with this stage
_STAGE = "fine-tuned"


def run(
    size: Size,
    where: Mapping[str, Path],
    work: Path,
    output: Path,
    command: str = "",
    console: Console | None = None,
) -> list[dict[str, Any]]:
    """Measure every row that `output` does not hold yet, saving each at once; return all rows.

    Args:
        size: seeds, samples, epochs, blocks.
        where: folders of SST-2 (`data`) and of MiniLM's files (`minilm`).
        work: folder of the runs; those that teach nobody are deleted when their row is saved.
        output: JSON with the rows.
        command: for the record.
        console: where to tell what happens.

    Raises:
        ConfigError: `output` was made with other settings.
        DataError: the test sentences are missing or damaged.
        Interrupted: SIGINT or SIGTERM came during training; everything is saved.
    """
    rows = Rows(output, KIND, size.model_dump(mode="json"), command)

    def one(case: Case) -> dict[str, Any]:
        return {
            "seed": case.seed,
            "method": case.method,
            **measure(case, size, where, work, console),
        }

    def tell(row: Mapping[str, Any]) -> None:
        folder = work / Case(row["seed"], row["method"]).folder
        # the optimiser's state is half a gigabyte a run; a teacher's weights are needed still
        kept = row["method"] in (TEACHER, PLAIN)
        shutil.rmtree(folder / "train" if kept else folder, ignore_errors=True)
        if console is not None:
            console.print(_line(row))

    return measure_missing(rows, cases(size), one, tell)


def measure(
    case: Case,
    size: Size,
    where: Mapping[str, Path],
    work: Path,
    console: Console | None = None,
) -> dict[str, Any]:
    """Train one row's network, and its teacher if that is not there; return score and seconds."""
    from ms_eff.experiment import Experiment

    check_held_out(where)
    if case.teacher is not None and not (work / case.teacher.folder / "models" / _STAGE).is_dir():
        measure(case.teacher, size, where, work, console)
    config = make_config(case, size, where, work)
    config.output.mkdir(parents=True, exist_ok=True)
    # afresh: seconds that begin in the middle of an epoch are not those of an epoch
    done = Experiment(config, f"python -m {_MODULE}", console, fresh=True)
    done.train()
    found = done.results.stages[_STAGE]
    seconds = training_seconds(found["curve"], size.batch_size)
    return {
        "dev_accuracy": found["accuracy"],
        "test_accuracy": held_out(done, _STAGE).accuracy,
        "params": found["params"],
        "train_samples": len(done.data.train),
        "steps": found["curve"][-1]["step"],
        "seconds": round(sum(seconds), 2),
        "epoch_seconds": [round(s, 2) for s in seconds],
        "report": done.results.methods.get("distillation", {}),
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure what is missing and print the table; return 0, 2 for a mistake, 130 or 143."""
    words = sys.argv[1:] if arguments is None else list(arguments)
    options = _parser().parse_args(words)
    command = shlex.join(["python", "-m", _MODULE, *words])
    changes = {
        "seeds": options.seeds,
        "train_samples": options.samples,
        "test_samples": options.test_samples,
        "epochs": options.epochs,
    }
    where = {"data": options.data, "minilm": options.minilm}

    def job(console: Console) -> None:
        size = changed_size(SIZES[options.size], changes)
        run(size, where, options.work, options.output, command, console)

    code = call("distillation", command, options.work, job)
    if code == 0:
        from ms_eff.report import distillation_methods

        return distillation_methods.main([str(options.output)])
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=f"python -m {_MODULE}",
        description="Accuracy and seconds of a small encoder on SST-2, trained by distillation of "
        "several kinds, by softened labels, and plainly.",
    )
    add = parser.add_argument
    add("--data", type=Path, required=True, help="folder with train.tsv, dev.tsv, test.tsv")
    add("--minilm", type=Path, default=Path("minilm"), help="folder of MiniLM's files")
    add("--size", choices=list(SIZES), default="hour")
    add("--output", type=Path, default=Path("results/distillation_sst2.json"))
    add("--work", type=Path, default=Path("runs/distillation"), help="folder of the runs")
    add("--seeds", nargs="+", type=int)
    add("--samples", type=int, help="training samples")
    add("--test-samples", type=int)
    add("--epochs", type=int, help="of every student")
    return parser


def _line(row: Mapping[str, Any]) -> str:
    return (
        f"seed {row['seed']} {row['method']}: accuracy dev {row['dev_accuracy']:.4f}, "
        f"test {row['test_accuracy']:.4f}, {row['seconds']:.0f} s of training"
    )


if __name__ == "__main__":
    own_signals()
    os.environ.setdefault("GLOG_v", "3")  # MindSpore's own warnings would bury the progress
    sys.exit(main())
