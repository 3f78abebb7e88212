"""The time a training step of each variant of the ViT experiment takes, on a machine left alone.

`python -m ms_eff.bench.vit_accuracy_timing ROWS.json` builds the experiment's networks, times their
training steps in turns and writes ROWS_time.json, from which `ms_eff.report.vit_accuracy` takes the
seconds an epoch. The experiment itself may then share the machine with anything.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ms_eff.bench import environment, rivals
from ms_eff.bench.accuracy_runs import data_block
from ms_eff.bench.rows import read_rows
from ms_eff.bench.timers import Work, compare
from ms_eff.bench.vit_accuracy_sizes import KIND, VARIANTS, Case, Size, make_config
from ms_eff.errors import ConfigError, UserError
from ms_eff.files import replacing
from ms_eff.runtime import DeviceSettings, setup

if TYPE_CHECKING:
    from ms_eff.config import Config

__all__ = ["main", "timed"]

_WARMUP = 3
_CLASSES = 10


def timed(
    size: Size, data: str = "cifar10", runs: int = 20, variants: Sequence[str] = tuple(VARIANTS)
) -> dict[str, dict[str, Any]]:
    """Return, by variant, the median and spread of a training step in milliseconds.

    Where patches are skipped it is the step after the warm-up. Weights are random, since shapes
    alone decide the speed.

    Args:
        size: of the experiment.
        data: `cifar10` or `digits`.
        runs: timed steps of each variant, after three that are thrown away.
        variants: their names.
    """
    works, block = {}, data_block("digits" if data == "digits" else "unused")
    for name in variants:
        config = make_config(Case(0, name), size, block, Path("unused"))
        works[name] = _step(config, 1 if data == "digits" else 3, runs)
    found = compare(works, _WARMUP, runs)
    return {name: found.summary(name).to_dict() for name in works}


def _step(config: Config, channels: int, runs: int) -> Work:
    from mindspore import Tensor

    from ms_eff import models
    from ms_eff.bench.steps import plain_step
    from ms_eff.methods.base import ModelContext
    from ms_eff.methods.registry import method_class

    side, batch = config.data.image_size, config.data.batch_size
    shape = {"image_size": side, "in_channels": channels, "num_classes": _CLASSES}
    network = models.build(config.model.name, **config.model.args(**shape))
    context = ModelContext((batch, channels, side, side))
    with rivals.known():
        for name, wishes in config.method_settings():
            network = method_class(name)(wishes).change_model(network, context)
    step = plain_step(network, config.train, _WARMUP + runs).set_train(True)
    images = np.random.default_rng(0).standard_normal(context.input_shape, dtype=np.float32)
    inputs, labels = Tensor(images), Tensor(np.arange(batch, dtype=np.int32) % _CLASSES)
    return lambda: step(inputs, labels)


def main(arguments: Sequence[str] | None = None) -> int:
    """Time the networks of an experiment; return 0, or 2 for a user's mistake."""
    parser = argparse.ArgumentParser(
        prog="python -m ms_eff.bench.vit_accuracy_timing", description=__doc__
    )
    parser.add_argument("rows", type=Path, help="JSON of `python -m ms_eff.bench.vit_accuracy`")
    parser.add_argument("--runs", type=int, default=20, help="timed steps a variant")
    words = sys.argv[1:] if arguments is None else list(arguments)
    options = parser.parse_args(words)
    setup(DeviceSettings(isa="native"))
    try:
        path = options.rows.with_name(f"{options.rows.stem}_time.json")
        _write(path, read_rows(options.rows, KIND), options.runs, words)
    except UserError as error:
        print(f"vit_accuracy_timing: {error}", file=sys.stderr)
        return 2
    print(f"{path}: done")
    return 0


def _write(path: Path, results: Mapping[str, Any], runs: int, words: Sequence[str]) -> None:
    settings = dict(results["settings"])
    data = settings.pop("data")
    there = {row["variant"] for row in results["rows"]}
    variants = [name for name in VARIANTS if name in there]
    command = ["python", "-m", "ms_eff.bench.vit_accuracy_timing", *words]
    content = {
        "environment": environment.describe(command),
        "batch": settings["batch_size"],
        "steps": timed(Size(**settings), data, runs, variants),
    }
    with replacing(path, ConfigError) as temporary:
        temporary.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    os.environ.setdefault("GLOG_v", "3")  # MindSpore's own warnings would bury the result
    sys.exit(main())
