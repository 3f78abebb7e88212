"""A run's checkpoints: written by rank 0 for all, found again by every worker."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import mindspore as ms
import numpy as np
from mindspore import nn

from ms_eff.errors import CheckpointError, DivergedError
from ms_eff.methods.base import Method
from ms_eff.train import checkpoint
from ms_eff.train.average import STATISTICS, Average
from ms_eff.train.progress import Progress
from ms_eff.train.state import Stateful, restore, state_of
from ms_eff.train.store import Store
from ms_eff.train.workers import average, require_same

__all__ = ["Saver"]


class Saver:
    """Saves and finds what a training needs to go on.

    Args:
        store: the folder of checkpoints.
        model: the network in training.
        averaged: its averaged weights.
        parts: what has arrays of its own besides.
        methods: likewise.
        description: `model` and `plans`, stored so that a checkpoint can be rebuilt.
        together: samples of a step, all workers' together.
        writes: whether this worker writes.
    """

    def __init__(
        self,
        store: Store,
        model: nn.Cell,
        averaged: Average,
        parts: Sequence[Stateful | None],
        methods: Sequence[Method],
        description: Mapping[str, Any],
        together: int,
        writes: bool,
    ) -> None:
        self.store, self.model, self.averaged = store, model, averaged
        self.parts, self.methods, self.description = parts, methods, description
        self.together, self.writes = together, writes

    def save(self, progress: Progress) -> Path:
        """Write a checkpoint and return its path.

        Raises:
            DivergedError: a weight is not finite; the checkpoints before stay.
        """
        self.share_statistics()
        weights = {p.name: p.asnumpy() for p in self.model.get_parameters()}
        if odd := [name for name, w in weights.items() if not np.isfinite(w).all()]:
            raise self.diverged(progress, f"the weights are not finite ('{odd[0]}')")
        if self.writes:
            state = {**self.description, **progress.to_state(), "samples_a_step": self.together}
            self.store.save(progress.step, weights, state, state_of(self.parts, self.methods))
        return self.store.path(progress.step)

    def resume(self, tell: Callable[[str], object]) -> tuple[Progress, Path] | None:
        """Take up the newest whole checkpoint; return how far it had come, and its path.

        Args:
            tell: is told what is wrong with newer ones.

        Raises:
            CheckpointError: none is whole, or it was made with another number of samples a step.
        """
        found, complaints = self.store.latest()
        for complaint in complaints:
            tell(f"skipped: {complaint}")
        require_same(found.state["step"] if found else 0, str(self.store.folder))
        if found is None:
            return None
        before = found.state.get("samples_a_step", self.together)
        if before != self.together:
            raise CheckpointError(
                f"{found.path}: made with {before} samples a step over all workers, here they are "
                f"{self.together}; give data.global_batch_size={before}"
            )
        checkpoint.assign(self.model, found.weights, found.path)
        restore(found.training, self.parts, self.methods)
        return Progress.from_state(found.state), found.path

    def share_statistics(self) -> None:
        """Average over the workers what each has of its own: running statistics."""
        average(self._statistics())

    def diverged(self, progress: Progress, what: str) -> DivergedError:
        """Return the error that says where training diverged and what to do."""
        good = self.store.steps()
        last = f"last good checkpoint: {self.store.path(good[-1])}" if good else "no checkpoint yet"
        return DivergedError(
            f"training diverged at step {progress.step} (epoch {progress.epoch + 1}): {what}; "
            f"{last}. Lower train.lr, set train.clip_norm, or check the data"
        )

    def _statistics(self) -> list[ms.Parameter]:
        own = [*self.model.get_parameters(), *self.averaged.averaged]
        return [p for p in own if p.name.rpartition(".")[2] in STATISTICS]
