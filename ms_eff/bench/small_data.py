"""ResNet-9 on 5,000 images within a time budget: one row a recipe and seed.

`python -m ms_eff.bench.small_data --data PATH --seconds 600` trains every recipe of
`configs/small_data` for as long as each other, as ordinary runs (`Experiment`). Each finished row
is saved at once; the same command goes on where it stopped, and prints the table at its end. A row
that was stopped, or whose training diverged, is tried anew by the same command.
"""

from __future__ import annotations

import argparse
import gc
import os
import shlex
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ms_eff.bench.accuracy_runs import training_seconds
from ms_eff.bench.rows import Kind, Rows
from ms_eff.config import Config, load_config
from ms_eff.errors import ConfigError, DivergedError, UserError
from ms_eff.train.interrupt import Interrupted, Stopped, lock_folder, own_signals, raising_stop

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["KIND", "RECIPES", "Plan", "main", "measured", "run"]

KIND = Kind("small_data", ("recipe", "seed"), growing=("seeds", "recipes"))
# airbench is what one would take instead of best; its config says what is airbench's in it
RECIPES = ("baseline", "sam", "sam_ip", "sam_gc", "meta", "best", "airbench")
_MODULE = "ms_eff.bench.small_data"
_CONFIG = "resnet9_cifar10_5k_{}.yaml"
# settings of a run that the command itself has to know
_OPTIONS = {"seed": "--seed", "output": "--work", "train.time_budget": "--seconds"}


@dataclass(frozen=True)
class Plan:
    """What to run.

    Attributes:
        recipes: names in `RECIPES`, or of further configs in the folder.
        seeds: of weights, order and augmentation.
        seconds: of training, each.
        data: folder of CIFAR-10's binary files, or `digits` (embedded, for a try).
        configs: folder of the recipes.
        overrides: `key=value`, for every recipe.
    """

    recipes: tuple[str, ...]
    seeds: tuple[int, ...]
    seconds: float
    data: str
    configs: Path = Path("configs/small_data")
    overrides: tuple[str, ...] = ()

    def config(self, recipe: str, seed: int, output: Path) -> Config:
        """Return one run's config.

        Raises:
            ConfigError: the recipe or an override is wrong, or has an option of its own.
        """
        for word in self.overrides:
            key = word.split("=")[0].strip()
            if key in _OPTIONS:
                raise ConfigError(f"{word}: {key} is said by {_OPTIONS[key]}; leave it out here")
        data = ["data.name=digits", "data.image_size=32", "data.train_limit=1000"]
        if self.data != "digits":
            data = [f"data.root={self.data}"]
        chosen = [*data, f"train.time_budget={self.seconds}", *self.overrides]
        chosen += [f"seed={seed}", f"output={output}"]
        return load_config(self.configs / _CONFIG.format(recipe), chosen)

    def settings(self) -> dict[str, Any]:
        """Return what rows of one file have in common, as JSON.

        Raises:
            ConfigError: the recipes are not all scored on the same images.
        """
        recipes = {name: self._recipe(name) for name in self.recipes}
        splits = {recipe["data"].get("test_split", "test") for recipe in recipes.values()}
        if len(splits) > 1:
            raise ConfigError(
                f"data.test_split: {' and '.join(sorted(splits))} in one table; give all recipes "
                "the same with --set data.test_split="
            )
        return {
            "data": "digits" if self.data == "digits" else "cifar10",
            "test_split": splits.pop(),
            "seconds": self.seconds,
            "seeds": list(self.seeds),
            "recipes": recipes,
        }

    def _recipe(self, name: str) -> dict[str, Any]:
        whole = self.config(name, 0, Path("runs")).to_dict()
        # what is left to its default says nothing, and later versions have more of it
        parts: dict[str, dict[str, Any]] = {
            key: {k: v for k, v in whole[key].items() if v is not None}
            for key in ("model", "data", "train")
        }
        parts["data"].pop("root", None)
        return parts | {"methods": whole["methods"]}


def run(
    plan: Plan, work: Path, output: Path, command: str = "", console: Console | None = None
) -> dict[str, Any]:
    """Measure every row that `output` does not hold yet, saving each at once.

    Args:
        plan: what to run.
        work: folder of the runs: `RECIPE/seedN`.
        output: JSON with the rows.
        command: for the record.
        console: where to tell what happens.

    Returns:
        `settings`, `calls` and `rows`; `diverged`, a line for each row that came to nothing.

    Raises:
        ConfigError: `output` or a run's folder was made with other settings.
        Interrupted: SIGINT or SIGTERM came during training; finished rows are saved.
    """
    rows = Rows(output, KIND, plan.settings(), command)
    diverged: list[str] = []
    for seed in plan.seeds:  # all recipes of a seed first: a table early
        for recipe in plan.recipes:
            if rows.find(recipe=recipe, seed=seed) is None:
                folder = work / recipe / f"seed{seed}"
                folder.mkdir(parents=True, exist_ok=True)
                config = plan.config(recipe, seed, folder)
                try:
                    rows.add({"recipe": recipe, "seed": seed, **measured(config, console)})
                except DivergedError as error:  # the other rows have nothing to do with it
                    diverged.append(f"{recipe} seed {seed}: {error}")
                gc.collect()  # compiled graphs go with the cells that own them
    return {
        "settings": rows.settings, "calls": rows.calls, "rows": rows.rows, "diverged": diverged,
    }  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure what is missing; return 0, 2 for a mistake or divergence, 130 or 143 when stopped."""
    words = sys.argv[1:] if arguments is None else list(arguments)
    options = _parser().parse_args(words)
    command = shlex.join(["python", "-m", _MODULE, *words])
    plan = Plan(
        tuple(options.rows), tuple(options.seeds), options.seconds, options.data,
        options.configs, tuple(options.set),
    )  # fmt: skip
    try:
        with lock_folder(options.work, key="--work "), raising_stop():
            from rich.console import Console

            from ms_eff.report.small_data import markdown

            found = run(plan, options.work, options.output, command, Console(stderr=True))
    except UserError as error:
        print(f"small_data: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except (Interrupted, Stopped) as stop:
        print(f"small_data: {stop}; resume with: {command}", file=sys.stderr)
        return stop.code
    print(markdown(found))
    for line in found["diverged"]:
        print(f"small_data: {' '.join(line.split())}", file=sys.stderr)
    return 2 if found["diverged"] else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=f"python -m {_MODULE}",
        description="ResNet-9 on 5,000 CIFAR-10 images, every recipe for the same time.",
    )
    add = parser.add_argument
    add("--data", required=True, help="folder of CIFAR-10's binary files, or `digits` (a try)")
    add("--seconds", type=float, default=600.0, help="of training, each row; default: 600")
    add("--rows", nargs="+", default=list(RECIPES), metavar="RECIPE", help="default: all")
    add("--seeds", nargs="+", type=int, default=[0])
    add("--set", nargs="+", default=[], metavar="KEY=VALUE", help="settings for every recipe")
    add("--configs", type=Path, default=Plan.configs, help="folder of the recipes")
    add("--output", type=Path, default=Path("results/small_data_cifar10.json"))
    add("--work", type=Path, default=Path("runs/small_data"), help="folder of the runs")
    return parser


def measured(config: Config, console: Console | None) -> dict[str, Any]:
    """Train one network, whatever its folder holds; return the rest of its row.

    Raises:
        DivergedError: its loss or weights stopped being finite.
        Interrupted: SIGINT or SIGTERM came.
    """
    from ms_eff.experiment import Experiment

    began = time.perf_counter()
    # afresh: seconds that begin in the middle of an epoch are not those of an epoch
    experiment = Experiment(config, f"python -m {_MODULE}", console, fresh=True)
    experiment.train()
    stage = experiment.results.stages["trained"]
    return {
        "accuracy": stage["accuracy"],
        "loss": stage["loss"],
        "train_images": len(experiment.data.train),
        "test_images": stage["samples"],
        "params": stage["params"],
        **_pace(stage["curve"], config.data.batch_size, len(experiment.data.train)),
        "wall_seconds": round(time.perf_counter() - began, 1),
        "curve": [_point(row) for row in stage["curve"] if "accuracy" in row],
    }


def _pace(curve: Sequence[Mapping[str, Any]], batch: int, images: int) -> dict[str, Any]:
    """Return how much was trained in how long.

    `images_per_second` is images over seconds of training, compilation included, evaluation not: a
    phase of fast steps counts by the time it took.

    >>> rows = [{"step": 5, "samples_per_second": 10.0}, {"step": 10, "samples_per_second": 5.0}]
    >>> _pace([rows[0], {**rows[1], "seconds": 7.0}], batch=4, images=80)
    {'steps': 10, 'epochs': 0.5, 'seconds': 7.0, 'images_per_second': 6.7}
    """
    last = curve[-1]
    trained = sum(training_seconds(curve, batch))
    return {
        "steps": last["step"],
        "epochs": round(last["step"] * batch / images, 2),
        "seconds": last["seconds"],
        "images_per_second": round(last["step"] * batch / trained, 1),
    }


def _point(row: Mapping[str, Any]) -> dict[str, float]:
    return {"seconds": row["seconds"], "accuracy": row["accuracy"]}


if __name__ == "__main__":
    own_signals()
    os.environ.setdefault("GLOG_v", "3")  # MindSpore's own warnings would bury the progress
    sys.exit(main())
