"""A trainer and a feed that remember what they did, for the recipes."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import mindspore as ms
import numpy as np
from mindspore import Tensor, nn
from rich.console import Console

from cross_check import probes
from cross_check.hosts import Host, renamed
from cross_check.rounds import generator_of
from ms_eff.methods.base import Method
from ms_eff.train.feed import Batches, Feed
from ms_eff.train.settings import TrainSettings
from ms_eff.train.trainer import Trainer

__all__ = ["Arrays", "WatchedFeed", "WatchedTrainer", "liven", "snapshot"]

Arrays = dict[str, np.ndarray]


class WatchedFeed(Feed):
    """A feed that remembers the batches of training."""

    def train(self, epoch: int, indices: np.ndarray, start_batch: int = 0) -> Batches:
        """Give the same batches, and keep them in `self.seen`."""
        for batch in super().train(epoch, indices, start_batch):
            inputs, labels, used = (column.asnumpy().copy() for column in batch)
            self.seen.append({"inputs": inputs, "labels": labels, "indices": used, "epoch": epoch})
            yield batch

    @property
    def seen(self) -> list[dict[str, Any]]:
        """Batches so far."""
        return self.__dict__.setdefault("_seen", [])  # the class is frozen


class WatchedTrainer(Trainer):
    """A trainer that remembers losses, and the weights after the first step and the last."""

    def __init__(
        self,
        model: nn.Cell,
        feed: WatchedFeed,
        settings: TrainSettings,
        folder: Path,
        methods: Sequence[Method],
    ) -> None:
        quiet = Console(file=io.StringIO())
        super().__init__(model, feed, settings, folder, methods=methods, console=quiet)
        self.generator = generator_of(methods)
        self.losses: list[float] = []
        self.first: Arrays = {}
        self.last: Arrays = {}

    def count_step(self, loss: float, rate: float, batch: Any = None) -> None:
        """Look at a step that has just been taken."""
        super().count_step(loss, rate, batch)
        self.losses.append(loss)
        seen = self.feed.seen[-1]
        seen |= probes.of_step(self.hooks.methods, self.model, len(seen["labels"]))
        if self.generator is not None:
            seen |= self.generator.draws()
        self.last = snapshot(self.model)
        if self.progress.step == 1:
            self.first = self.last

    def watch(self, host: Host) -> Arrays:
        """Train to the end and return everything that was seen, by the twin's names."""
        before = snapshot(self.model)
        own = {w.name: w.asnumpy().copy() for w in self.hooks.own_weights()}
        row = self.fit()[-1]
        groups = {"weights": before, "first": self.first, "after": self.last}
        if self.average:
            groups["averaged"] = snapshot(self.model)
        arrays: Arrays = {
            "losses": np.array(self.losses),
            "rates": self.optimizer.rates.asnumpy()[: len(self.losses)],
            "evaluation": np.array([row["loss"], row[self.task.metric]]),
        }
        for weight in self.hooks.own_weights():
            name = weight.name.rpartition(".")[2]
            moved = weight.asnumpy() - own[weight.name]
            arrays |= {
                f"own/{name}": own[weight.name],
                f"also/movement of projections/{name}": moved,
            }
        for group, members in groups.items():
            named = renamed(members, host.naming)
            arrays |= {f"{group}/{name}": array for name, array in named.items()}
        if self.generator is not None:
            arrays |= self.generator.arrays()
        for step, batch in enumerate(self.feed.seen):
            arrays |= {f"step {step}/{name}": np.asarray(value) for name, value in batch.items()}
        test = self.feed.data.test
        inputs, labels = test.batch(np.arange(len(test)))
        return arrays | {"tested/inputs": inputs, "tested/labels": labels}


def snapshot(cell: nn.Cell) -> Arrays:
    """Return copies of all parameters."""
    return {name: p.asnumpy().copy() for name, p in cell.parameters_and_names()}


def liven(cell: nn.Cell, rng: np.random.Generator) -> None:
    """Draw all weights anew: matrices so that outputs are large, vectors off zeros and ones."""
    for name, parameter in cell.parameters_and_names():
        if parameter.dtype != ms.float32:
            continue
        if len(parameter.shape) > 1:
            fan_in = max(int(np.prod(parameter.shape[1:])), 1)
            values = rng.standard_normal(parameter.shape) / np.sqrt(fan_in)
        else:
            centre = 1.0 if name.endswith(("gamma", "moving_variance", "norm.weight")) else 0.0
            values = centre + rng.uniform(-0.3, 0.3, parameter.shape)
        parameter.set_data(Tensor(values.astype(np.float32)))
