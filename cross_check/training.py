"""The MindSpore side of the recipes: train with the real trainer and keep what every step did.

Batches, losses, rates and weights are kept under the torch twin's names, in the same records as the
cells'; the batches come along, so that the torch side needs neither our data nor our order of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from cross_check import family, probes
from cross_check.bundle import Record
from cross_check.hosts import HOSTS, Host, renamed
from cross_check.modes import in_mode
from cross_check.recipe import TEACHER, TRAIN, Recipe
from cross_check.watched import Arrays, WatchedFeed, WatchedTrainer, liven, snapshot
from ms_eff.data.settings import DataSettings
from ms_eff.methods.base import Method, ModelContext
from ms_eff.methods.registry import method_class, settings_class
from ms_eff.train import checkpoint
from ms_eff.train.settings import TrainSettings

__all__ = ["run"]

_SEED = 5


def run(recipe: Recipe, mode: str) -> Record:
    """Train once, in `graph` or `pynative` mode, and return what happened."""
    if "progressive" in recipe.methods:
        return family.run(recipe, mode)
    host = HOSTS[recipe.host]
    settings = TrainSettings(**{**TRAIN, **host.train, **recipe.train})
    with in_mode(mode), TemporaryDirectory() as folder:
        network, data = host.build(**{**host.args, **recipe.args}), host.data(_rng())
        liven(network, _rng())
        feed = WatchedFeed(data, DataSettings(name="digits", batch_size=recipe.batch), _SEED)
        arrays, taught_by = _teacher(recipe, host, Path(folder) / "teacher")
        methods = [_method(name, wishes, folder) for name, wishes in recipe.methods.items()]
        context = ModelContext(
            (recipe.batch, *data.image_shape),
            lambda: iter([data.train.batch(np.arange(len(data.train)))]),
            trained=True,
        )
        for method in methods:
            method.epochs = settings.epochs
            network = method.change_model(network, context)
        trainer = WatchedTrainer(network, feed, settings, Path(folder), methods=methods)
        arrays |= trainer.watch(host)
        also = probes.at_end(methods, network, feed.seen)
        arrays |= {f"also/{name}": array for name, array in also.items()}
    args = {
        "network": recipe.network or host.twin,
        "network args": {
            **host.args,
            **recipe.args,
            **recipe.network_args,
            **probes.twin_args(methods),
        },
        "train": settings.model_dump(mode="json"),
        "methods": {m.name: m.settings.model_dump(mode="json") for m in methods} | taught_by,
    }
    return Record(
        case=recipe.name,
        twin=f"recipes.{recipe.twin}",
        args=args,
        reference=None,
        mode=mode,
        dtype=recipe.dtype,
        smooth=True,
        optimiser={},
        steps=len(arrays["losses"]),
        arrays=arrays,
        zero=recipe.zero,
    )


def _method(name: str, wishes: Mapping[str, Any], folder: str) -> Method:
    placed = {k: f"{folder}/teacher" if v == TEACHER else v for k, v in wishes.items()}
    return method_class(name)(settings_class(name)(**placed), _SEED)


def _teacher(recipe: Recipe, host: Host, path: Path) -> tuple[Arrays, dict[str, Any]]:
    """Write the teacher's checkpoint; return its arrays, and the twin's arguments."""
    if not any(TEACHER in wishes.values() for wishes in recipe.methods.values()):
        return {}, {}
    args = {**host.args, **recipe.args, **recipe.teacher}
    network = host.build(**args)
    liven(network, np.random.default_rng(_SEED + 1))
    weights = snapshot(network)
    checkpoint.save(path, weights, {"model": {"name": host.model, "args": args}, "plans": []})
    named = renamed(weights, host.naming)
    return {f"teacher/{k}": v for k, v in named.items()}, {"teacher": dict(recipe.teacher)}


def _rng() -> np.random.Generator:
    return np.random.default_rng(_SEED)
