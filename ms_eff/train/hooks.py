"""The methods of a run as the trainer calls them: all of them, in the order of the config."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from mindspore import Parameter, Tensor, nn

from ms_eff.methods.base import EpochEnd, Method, RunStart, StepBegin, StepEnd
from ms_eff.train.evaluate import predict
from ms_eff.train.feed import Feed
from ms_eff.train.settings import TrainSettings
from ms_eff.train.step import Step
from ms_eff.train.workers import gathered, summed

__all__ = ["Hooks", "run_start", "shared_predictions"]


class Hooks:
    """All methods behind one face; the trainer knows none of them by name.

    Args:
        methods: in the order in which they are called.
    """

    def __init__(self, methods: Sequence[Method]) -> None:
        self.methods = methods

    def expect(self, epochs: int) -> None:
        """Tell how many epochs there will be."""
        for method in self.methods:
            method.epochs = epochs

    def start(self, run: RunStart) -> None:
        """Tell what is going to be trained, before it is resumed."""
        for method in self.methods:
            method.on_start(run)

    def own_weights(self) -> list[Parameter]:
        """Return what is trained beside the network."""
        return [weight for method in self.methods for weight in method.own_weights()]

    def phases(self, epoch: int) -> tuple[str, ...]:
        """Name the compiled step of an epoch, each method's part of the name."""
        return tuple(method.phase(epoch) for method in self.methods)

    def changed(self, step: Step, phases: Sequence[str]) -> Step:
        """Return the step with all methods in it."""
        for method, phase in zip(self.methods, phases, strict=True):
            step = method.change_step(step, phase)
        return step

    def size(self, epoch: int, samples: int) -> int:
        """Return how many of so many samples an epoch trains on."""
        for method in self.methods:
            samples = method.subset_size(epoch, samples)
        return samples

    def subset(self, epoch: int, samples: int) -> np.ndarray:
        """Return the numbers of the samples that an epoch trains on."""
        indices = np.arange(samples)
        for method in self.methods:
            indices = method.subset(epoch, indices)
        return indices

    def watching(self) -> list[Method]:
        """Return the methods that look at every step."""
        return [method for method in self.methods if method.watches()]

    def begin_step(self, epoch: int, indices: Tensor) -> None:
        """Announce the next step to those who watch."""
        for method in self.watching():
            method.on_step_begin(StepBegin(epoch, indices.asnumpy()))

    def end_step(self, epoch: int, step: int, indices: Tensor, outputs: Tensor) -> None:
        """Show a step, all workers' batches of it, to those who watch."""
        watching = self.watching()
        if watching:
            everybody = gathered(indices).asnumpy()
            event = StepEnd(epoch, step, everybody, gathered(outputs))
            for method in watching:
                method.on_step_end(event)

    def end_epoch(self, event: EpochEnd) -> None:
        """Let all act between two epochs."""
        for method in self.methods:
            method.on_epoch_end(event)

    def conclude(self) -> None:
        """Let all conclude."""
        for method in self.methods:
            method.on_train_end()

    def settings(self) -> list[tuple[str, Any, int]]:
        """Return what each adds to a compiled graph's name."""
        return [(method.name, method.settings, method.seed) for method in self.methods]


def run_start(
    model: nn.Cell, feed: Feed, settings: TrainSettings, tell: Callable[[str], None]
) -> RunStart:
    """Return what methods are told of a run before its first step.

    Args:
        model: the network in training.
        feed: its batches.
        settings: how it is trained.
        tell: says a line to the user.
    """
    split, batch = feed.data.train, feed.settings.batch_size
    together = batch * feed.worker.size
    return RunStart(
        labels=split.labels,
        classes=split.classes,
        batch_size=batch,
        counted=lambda size: min(size, feed.steps(size) * together),
        show=lambda index: feed.data.show(index),
        tell=tell,
        model=model,
        split=split,
        worker=feed.worker,
        settings=settings,
    )


def shared_predictions(model: nn.Cell, feed: Feed, indices: np.ndarray) -> np.ndarray:
    """Return the network's outputs (n, ...) for training samples, each worker doing its share.

    A damaged picture's are zeros.
    """
    worker = feed.worker
    shared = worker.size > 1 and len(indices) >= worker.size
    own = indices[worker.rank :: worker.size] if shared else indices
    outputs, found = predict(model, feed.chosen(own))
    order = np.argsort(indices)
    every = np.zeros((len(indices), *outputs.shape[1:]))
    every[order[np.searchsorted(indices, found, sorter=order)]] = outputs
    return summed(every) if shared else every
