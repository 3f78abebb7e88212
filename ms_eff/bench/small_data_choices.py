"""Which width, rate, .. a recipe should have: changes of it for equal time, on held-out images.

`python -m ms_eff.bench.small_data_choices --data PATH --recipe best --change model.width=24` trains
`configs/small_data`'s recipe with each change for as long as each other, and scores it on training
images that were held out: the test images choose nothing. Each finished row is saved at once; the
same command goes on where it stopped. One core each, two commands of twice the seconds can run side
by side: `OMP_NUM_THREADS=1 taskset -c 0 python -m ..`.
"""

from __future__ import annotations

import argparse
import gc
import os
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ms_eff.bench.accuracy_runs import call
from ms_eff.bench.rows import Kind, Rows
from ms_eff.bench.small_data import Plan, measured
from ms_eff.errors import ConfigError
from ms_eff.train.interrupt import own_signals

if TYPE_CHECKING:
    from rich.console import Console

    from ms_eff.config import Config

__all__ = ["KIND", "main", "markdown", "run"]

KIND = Kind("small_data_choices", ("changes",), growing=())
_MODULE = "ms_eff.bench.small_data_choices"
_HELD_OUT = "data.test_split=held_out"


def run(
    plan: Plan,
    changes: Sequence[Sequence[str]],
    work: Path,
    output: Path,
    command: str = "",
    console: Console | None = None,
) -> dict[str, Any]:
    """Measure every change that `output` does not hold yet, saving each at once.

    Args:
        plan: one recipe and one seed; its overrides are for every row.
        changes: `key=value` words of each row; none at all is the recipe as it is.
        work: folder of the runs, a number each.
        output: JSON with the rows.
        command: for the record.
        console: where to tell what happens.

    Returns:
        `settings`, `calls` and `rows`.

    Raises:
        ConfigError: a change is wrong, or `output` was made with other settings.
        DivergedError: a row's loss or weights stopped being finite; leave that change out.
        Interrupted: SIGINT or SIGTERM came during training; finished rows are saved.
    """
    plan = replace(plan, overrides=(*plan.overrides, _HELD_OUT))
    (recipe,), (seed,) = plan.recipes, plan.seeds
    changed = {
        " ".join(words): replace(plan, overrides=(*plan.overrides, *words)) for words in changes
    }
    as_it_is = plan.config(recipe, seed, work)
    for name, one in changed.items():  # all of them, before the first is trained
        _check_comparable(one.config(recipe, seed, work), as_it_is, name)
    rows = Rows(output, KIND, plan.settings(), command)
    for name, one in changed.items():
        if rows.find(changes=name) is None:
            folder = work / f"{len(rows.rows)}"
            folder.mkdir(parents=True, exist_ok=True)
            rows.add({"changes": name, **measured(one.config(recipe, seed, folder), console)})
            gc.collect()  # compiled graphs go with the cells that own them
    return {"settings": rows.settings, "calls": rows.calls, "rows": rows.rows}


def markdown(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return the table, the best change first.

    >>> row = {"changes": "", "accuracy": 0.5, "epochs": 9.0, "images_per_second": 80.0}
    >>> print(markdown([row]).splitlines()[-1])
    | as it is | 50.00 | 9.0 | 80 |
    """
    lines = ["| changes | held-out accuracy, % | epochs | images/s |", f"|{'---|' * 4}"]
    for row in sorted(rows, key=lambda row: -row["accuracy"]):
        name = f"`{row['changes']}`" if row["changes"] else "as it is"
        cells = (f"{100 * row['accuracy']:.2f}", f"{row['epochs']:.1f}")
        lines.append(f"| {name} | {' | '.join(cells)} | {row['images_per_second']:.0f} |")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure what is missing; return 0, 2 for a user's mistake, 130 or 143 when stopped."""
    words = sys.argv[1:] if arguments is None else list(arguments)
    options = _parser().parse_args(words)
    command = shlex.join(["python", "-m", _MODULE, *words])
    plan = Plan((options.recipe,), (options.seed,), options.seconds, options.data, options.configs)
    output = options.output or Path(f"runs/small_data_choices/{options.recipe}.json")
    work = options.work or Path(f"runs/small_data_choices/{options.recipe}")

    def job(console: Console) -> None:
        print(markdown(run(plan, options.change, work, output, command, console)["rows"]))

    return call("small_data_choices", command, work, job)


def _check_comparable(config: Config, as_it_is: Config, changes: str) -> None:
    """Refuse changes after which a row would not stand beside the others."""
    same = {
        "data.test_split": (config.data.test_split, as_it_is.data.test_split),
        "data.train_limit": (config.data.train_limit, as_it_is.data.train_limit),
        "data.test_limit": (config.data.test_limit, as_it_is.data.test_limit),
    }
    for key, (found, wanted) in same.items():
        if found != wanted:
            raise ConfigError(
                f"--change {changes}: {key} has to be the same for all rows ({wanted}), and would "
                f"be {found}; leave it out"
            )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=f"python -m {_MODULE}", description=__doc__)
    add = parser.add_argument
    add("--data", required=True, help="folder of CIFAR-10's binary files")
    add("--recipe", required=True, help="of configs/small_data: baseline, best, ..")
    add(
        "--change",
        nargs="*",
        action="append",
        required=True,
        metavar="KEY=VALUE",
        help="what one row changes; repeat it for each row; without words: the recipe as it is",
    )
    add("--seconds", type=float, default=600.0, help="of training, each row; default: 600")
    add("--seed", type=int, default=0)
    add("--configs", type=Path, default=Plan.configs, help="folder of the recipes")
    add("--output", type=Path, help="default: runs/small_data_choices/RECIPE.json")
    add("--work", type=Path, help="default: runs/small_data_choices/RECIPE")
    return parser


if __name__ == "__main__":
    own_signals()
    os.environ.setdefault("GLOG_v", "3")  # MindSpore's own warnings would bury the progress
    sys.exit(main())
