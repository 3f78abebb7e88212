"""SST-2 with MiniLM, as several experiments have it: blocks of a config, and the second score."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ms_eff.data.tables import read_columns
from ms_eff.errors import DataError

if TYPE_CHECKING:
    from ms_eff.experiment import Experiment
    from ms_eff.train.evaluate import Score

__all__ = ["blocks", "check_held_out", "held_out"]

_HELD_OUT = "test.tsv"


def blocks(where: Mapping[str, Path]) -> dict[str, dict[str, Any]]:
    """Return `device`, `model`, `data` and `train` of a config, without sizes and epochs.

    Args:
        where: `data`, the folder of SST-2's tables, and `minilm`, that of the network's files.
    """
    return {
        "device": {"isa": "native"},
        "model": {
            "name": "minilm_l6", "weights": where["minilm"] / "model.safetensors", "dropout": 0.1
        },
        "data": {
            "name": "text",
            "root": where["data"],
            "tokenizer": where["minilm"] / "tokenizer.json",
            "test_file": "dev.tsv",
            "buckets": (16, 32, 48),
            "eval_batch_size": 64,
        },
        "train": {
            "optimizer": "adamw",
            "lr": 1e-4,
            "weight_decay": 0.01,
            "schedule": "linear",
            "warmup_epochs": 0.5,
            "clip_norm": 1.0,
        },
    }  # fmt: skip


def check_held_out(where: Mapping[str, Path]) -> None:
    """Look at the test sentences before anything is trained: they are asked for only afterwards.

    Args:
        where: `data`, the folder of SST-2's tables.

    Raises:
        DataError: they are missing, or their labels are none of training's (GLUE's own has none).
    """
    train, test = (where["data"] / file for file in ("train.tsv", _HELD_OUT))
    known = set(read_columns(train, (0, 1))[1])
    if odd := set(read_columns(test, (0, 1))[1]) - known:
        raise DataError(
            f"{test}: label '{min(odd)}' is none of {train.name}'s: {', '.join(sorted(known))}; "
            "lines are text, tab, label"
        )


def held_out(done: Experiment, stage: str) -> Score:
    """Score a trained network on SST-2's test sentences, which training never asks for."""
    from ms_eff.data.pipeline import batches
    from ms_eff.data.text import load_split
    from ms_eff.train.evaluate import evaluate

    settings = done.config.data
    split = load_split(settings, _HELD_OUT, settings.test_limit, classes=done.data.classes)
    model = dict(done.saved_models())[stage]
    rows = batches(split, batch_size=settings.eval_batch_size or 64, train=False)
    return evaluate(model, rows.create_tuple_iterator(num_epochs=1))
