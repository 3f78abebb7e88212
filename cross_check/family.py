"""The MindSpore side of recipes of families: a parent truncated, trained, truncated again."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch

import numpy as np
from mindspore import nn
from rich.console import Console

from cross_check.bundle import Record
from cross_check.modes import in_mode
from cross_check.recipe import Recipe
from cross_check.watched import Arrays, liven, snapshot
from ms_eff import models
from ms_eff.methods.progressive import family
from ms_eff.methods.progressive.recovery import Recovery
from ms_eff.methods.progressive.settings import FamilyConfig
from ms_eff.models.formats import write_arrays
from ms_eff.models.llama_shape import LlamaShape
from ms_eff.runtime import DeviceSettings

__all__ = ["run"]

_SEED, _STEPS, _BATCH, _BLOCK = 5, 5, 2, 8
_SHAPE = LlamaShape(24, 12, 2, 3, 1, 20, context=16)


def run(recipe: Recipe, mode: str) -> Record:
    """Make a family of two members, five steps of training each, and return what happened."""
    with in_mode(mode), TemporaryDirectory() as folder:
        parent, text = _parent(Path(folder)), {"files": [f"{folder}/text.txt"]}
        config = FamilyConfig(
            output=Path(folder) / "family",
            seed=_SEED,
            device=DeviceSettings(mode=mode),
            parent={"path": folder},
            evaluation={**text, "tokens": 32, "window": 16, "baseline": False},
            recovery={
                **text,
                "batch": _BATCH,
                "block": _BLOCK,
                "lr": 5e-3,
                "warmup": 0.2,
                "clip_norm": 0.5,
                "precision": "O0",
            },
            methods=[{"progressive": _wishes(recipe)}],
        )
        with _watched() as steps:
            family.Family(config, console=Console(quiet=True)).run()
    wanted, wishes = config.recovery, config.progressive
    train = {
        **{"optimizer": "adamw", "lr": wanted.lr, "betas": (0.9, 0.95), "eps": 1e-8},
        **{"weight_decay": wanted.weight_decay, "decay_norm_and_bias": False},
        **{"bias_lr_ratio": 1.0, "clip_norm": wanted.clip_norm, "schedule": "cosine"},
        **{"warmup_epochs": wanted.warmup, "final_lr_ratio": 0.0, "ema": None, "ema_every": 1},
    }
    shape = {**_SHAPE.to_hf(), "ranks": {}}
    for key in ("architectures", "model_type"):
        del shape[key]
    methods = {"progressive": wishes.model_dump(mode="json")}
    return Record(
        case=recipe.name,
        twin=f"recipes.{recipe.twin}",
        args={
            "network": "recipes.progressive:llama",
            "network args": shape,
            "train": train,
            "methods": methods,
        },
        reference=None,
        mode=mode,
        dtype="float32",
        smooth=True,
        optimiser={},
        steps=len(steps) * _STEPS,
        arrays=_arrays(parent, steps),
    )


class _Watched(Recovery):
    """A recovery that remembers its batches, rates and weights."""

    def __init__(self, network: nn.Cell, *args: Any, **options: Any) -> None:
        super().__init__(network, *args, **options)
        self.batches: list[np.ndarray] = []
        self.start = self.first_weights = self.end = snapshot(network)

    def _step(self, number: int) -> None:
        super()._step(number)
        self.batches.append(self.blocks.batch_at(self.first + number))
        self.end = snapshot(self.network)
        if number == 0:
            self.first_weights = self.end


@contextmanager
def _watched() -> Iterator[list[_Watched]]:
    """Let every family train by recoveries that are watched; give these."""
    made: list[_Watched] = []

    def make(*args: Any, **options: Any) -> _Watched:
        made.append(_Watched(*args, **options))
        return made[-1]

    with patch.object(family, "Recovery", make):
        yield made


def _wishes(recipe: Recipe) -> dict[str, Any]:
    common = {"ratios": (1.25, 2.0), "tokens": _STEPS * _BATCH * _BLOCK}
    return common | {"allocation": "uniform", "rule": "plain", **recipe.methods["progressive"]}


def _parent(folder: Path) -> Arrays:
    """Write a Llama as a Hugging Face folder, with a tokenizer and a text; return its weights."""
    from tokenizers import Tokenizer, pre_tokenizers
    from tokenizers import models as kinds

    network = models.build("llama", **_SHAPE.to_args())
    rng = np.random.default_rng(_SEED)
    liven(network, rng)
    arrays = snapshot(network)
    write_arrays(folder / "model.safetensors", arrays)
    (folder / "config.json").write_text(json.dumps(_SHAPE.to_hf()))
    words = {f"w{i}": i for i in range(_SHAPE.vocab_size)}
    tokenizer = Tokenizer(kinds.WordLevel(words, unk_token="w0"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.save(str(folder / "tokenizer.json"))
    ids = np.cumsum(rng.choice([1, 2], 400, p=[0.8, 0.2])) % _SHAPE.vocab_size
    (folder / "text.txt").write_text(" ".join(f"w{i}" for i in ids))
    return arrays


def _arrays(parent: Arrays, steps: list[_Watched]) -> Arrays:
    arrays: Arrays = {f"parent/{name}": array for name, array in parent.items()}
    for step, made in enumerate(steps):
        groups = {"start": made.start, "end": made.end}
        for group, members in groups.items():
            arrays |= {f"{group} {step}/{name}": array for name, array in members.items()}
        moved = {
            "first update of weights": made.first_weights,
            "movement of weights": made.end,
        }
        for quantity, after in moved.items():
            for name, array in after.items():
                arrays[f"also/{quantity}/{step}/{name}"] = array - made.start[name]
        for name, array in made.start.items():
            if name.endswith(".first.weight"):
                layer = name.removesuffix(".first.weight")
                product = made.start[f"{layer}.last.weight"].astype(np.float64) @ array
                arrays[f"also/products of step {step}/{layer}"] = product
        for i, ids in enumerate(made.batches):
            batch = {"inputs": ids[:, :-1], "labels": ids[:, 1:], "indices": np.arange(len(ids))}
            batch["epoch"] = np.array(step)
            place = step * _STEPS + i
            arrays |= {f"step {place}/{name}": np.array(value) for name, value in batch.items()}
    rates = [made.optimizer.rates.asnumpy()[:_STEPS] for made in steps]
    losses = [np.array(made.losses) for made in steps]
    return arrays | {"rates": np.concatenate(rates), "losses": np.concatenate(losses)}
