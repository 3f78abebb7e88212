"""SwiftLearn and its rivals as the trainer knows them."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from mindspore import Parameter, Tensor

from ms_eff.data.randomness import Stream, generator
from ms_eff.errors import ConfigError
from ms_eff.methods.base import EpochEnd, Method, RunStart, StepBegin, StepEnd
from ms_eff.methods.swiftlearn import core
from ms_eff.methods.swiftlearn.cells import WeightedForward
from ms_eff.methods.swiftlearn.records import Losses, Movements
from ms_eff.methods.swiftlearn.settings import SwiftLearnSettings
from ms_eff.methods.swiftlearn.summary import summary
from ms_eff.train.step import Forward

if TYPE_CHECKING:
    from ms_eff.train.step import Step

__all__ = ["SwiftLearn"]


class SwiftLearn(Method):
    """Train on a share of the samples, chosen by how far their logits moved (arXiv:2311.15134).

    Settings: `SwiftLearnSettings`. What is chosen in an epoch follows from the state, the seed and
    the epoch's number alone, so every worker and every resumed run holds the same subset.
    """

    settings: SwiftLearnSettings

    name: ClassVar[str] = "swiftlearn"
    watches_steps: ClassVar[bool] = True
    counts_epochs: ClassVar[bool] = True
    tasks: ClassVar[tuple[str, ...]] = ("classification",)

    def excludes(self) -> Sequence[str]:
        """InfoBatch weighs a batch's losses: one replaces them, the other cuts up the batch."""
        return ("distillation", "meta_learning") if self.settings.policy == "infobatch" else ()

    def changes_loss(self) -> bool:
        """Tell whether it puts another forward into the step: InfoBatch weighs the losses."""
        return self.settings.policy == "infobatch"

    def needs_plain_loss(self) -> bool:
        """Tell whether it has to come first: InfoBatch needs the loss of each sample."""
        return self.settings.policy == "infobatch"

    def on_start(self, run: RunStart) -> None:
        """Set up the records, which grow with the samples of the run.

        Raises:
            ConfigError: no epoch would be on a share, or the share fills no batch.
        """
        size, policy = len(run.labels), self.settings.policy
        self._check_share(run, size)
        self._run = run
        self._movements = Movements(size, run.tell) if policy == "swiftlearn" else None
        self._losses = Losses(size) if policy == "infobatch" else None
        # one parameter for the steps of all phases, whatever forward each is made of
        ones = Tensor(np.ones(run.batch_size, np.float32))
        self._batch_weights = Parameter(ones, name="swiftlearn.weights", requires_grad=False)
        self._given = self._subset = self._chosen = np.arange(size)
        self._weights = np.ones(size, np.float32)
        self._trained = self._evaluated = 0
        self._choosing = self._measuring = 0.0

    def _check_share(self, run: RunStart, size: int) -> None:
        wishes, few = self.settings, core.kept(size, self.settings.keep)
        if self.epochs <= wishes.warmup_epochs:
            raise ConfigError(
                f"methods.swiftlearn.warmup_epochs = {wishes.warmup_epochs}: with train.epochs = "
                f"{self.epochs} no epoch is left to train on a share; give more epochs, or fewer "
                "of warm-up"
            )
        if run.counted(few) == 0:
            raise ConfigError(
                f"methods.swiftlearn.keep = {wishes.keep:g}: {few} of {size} samples fill no whole "
                f"step at data.batch_size = {run.batch_size} on {run.worker.size} worker(s) with "
                "data.drop_last = true; keep more, lower the batch size, or set drop_last=false"
            )

    # the data

    def subset_size(self, epoch: int, size: int) -> int:
        """Return N in an epoch on everything, else round(N keep)."""
        return size if self._on_everything(epoch) else core.kept(size, self.settings.keep)

    def subset(self, epoch: int, indices: np.ndarray) -> np.ndarray:
        """Return the samples of that epoch, ascending."""
        self._given = self._subset = indices
        self._weights[:] = 1.0
        if not self._on_everything(epoch):
            began = time.perf_counter()
            self._subset = self._chosen = indices[self._places(epoch, indices)]
            self._choosing += time.perf_counter() - began
        return self._subset

    def _places(self, epoch: int, indices: np.ndarray) -> np.ndarray:
        wishes, count = self.settings, core.kept(len(indices), self.settings.keep)
        fixed = wishes.policy == "random_fixed"
        rng = generator(Stream.SUBSET, self.seed, 0 if fixed else epoch)
        if self._movements is not None:
            metric = self._movements.metric[indices]
            if wishes.selection == "topk":
                return core.top(metric, count)
            return core.gumbel_top(metric, wishes.temperature, count, rng)
        if self._losses is not None:
            places, weights = core.prune(self._losses.to_draw_by()[indices], count, rng)
            self._weights[indices[places]] = weights
            return places
        return np.sort(rng.choice(len(indices), count, replace=False))

    def _on_everything(self, epoch: int) -> bool:
        last = self.settings.anneal_epochs if self.settings.policy == "infobatch" else 0
        return epoch < self.settings.warmup_epochs - last or epoch >= self.epochs - last

    # the step

    def change_step(self, step: Step, phase: str) -> Step:
        """Let samples count by their weights; only `infobatch` has any but 1."""
        if self._losses is None:
            return step
        if type(step.forward) is not Forward:
            raise ConfigError(
                "methods.swiftlearn.policy = 'infobatch': it weighs the plain loss, which a method "
                "listed before it replaces; list swiftlearn first, or choose another policy"
            )
        return replace(step, forward=WeightedForward(step.forward, self._batch_weights))

    def on_step_begin(self, event: StepBegin) -> None:
        """Put the weights of the batch in place."""
        if self._losses is not None:
            self._batch_weights.set_data(Tensor(self._weights[event.indices]))

    # what is seen of the samples

    def on_step_end(self, event: StepEnd) -> None:
        """Record what the step says of its samples."""
        real = event.indices >= 0
        indices = event.indices[real]
        self._trained += len(indices)
        if self._losses is not None:
            losses = core.cross_entropy(event.outputs.asnumpy()[real], self._run.labels[indices])
            self._losses.record(indices, losses)
        elif self._movements is not None and self._compares(event.epoch):
            logits = event.outputs.asnumpy()[real]
            self._movements.record(indices, logits, event.epoch)

    def on_epoch_end(self, event: EpochEnd) -> None:
        """Complete the warm-up's records, or measure all samples again."""
        began = time.perf_counter()
        if self._losses is not None:
            self._losses.turn()
        if self._movements is not None and self._compares(event.epoch):
            self._evaluate(event, self._movements.unseen(self._given, event.epoch))
        elif self._movements is not None and self._reevaluates(event.epoch):
            self._evaluate(event, self._given)
        if self._movements is not None and not self._needs_logits(event.epoch):
            self._movements.forget()
        self._measuring += time.perf_counter() - began

    def _evaluate(self, event: EpochEnd, indices: np.ndarray) -> None:
        if self._movements is not None and len(indices):
            logits = event.predict(indices).astype(np.float32)
            # a damaged picture's are zeros, which would seem to have moved most of all
            seen = logits.reshape(len(logits), -1).any(axis=1)
            self._movements.record(indices[seen], logits[seen], event.epoch)
            self._evaluated += len(indices)

    def _compares(self, epoch: int) -> bool:
        """Tell whether logits seen in training count: in the last two epochs of the warm-up."""
        return self.settings.warmup_epochs - 2 <= epoch < self.settings.warmup_epochs

    def _reevaluates(self, epoch: int) -> bool:
        every, done = self.settings.reevaluate_every, epoch + 1 - self.settings.warmup_epochs
        return every is not None and done > 0 and done % every == 0 and epoch + 1 < self.epochs

    def _needs_logits(self, epoch: int) -> bool:
        later = range(epoch + 1, self.epochs)
        return any(self._compares(e) or self._reevaluates(e) for e in later)

    # the end

    def on_train_end(self) -> None:
        """Report what was kept and what it cost."""
        importance = None
        if self._movements is not None:
            importance = self._movements.metric
        elif self._losses is not None:
            importance = self._losses.drawn
        self.report = {
            **summary(self._run, self._chosen, importance),
            **self.settings.model_dump(mode="json"),
            "samples_trained": self._trained,
            "samples_evaluated": self._evaluated,
            "closed_form": self._closed_form(),
            "selection_seconds": round(self._choosing + self._measuring, 3),
            "seconds_between_epochs": round(self._measuring, 3),
        }

    def _closed_form(self) -> dict[str, int]:
        """Return what the counters must come to, `data.drop_last` taken into account."""
        wishes, size, counted = self.settings, len(self._given), self._run.counted
        passes = core.Passes(
            size, self.epochs, wishes.warmup_epochs, wishes.keep, wishes.reevaluate_every
        )
        full = self.epochs - passes.reduced
        few = core.kept(size, wishes.keep)
        looked_at = sum(self._compares(e) for e in range(self.epochs)) if self._movements else 0
        return {
            "samples_trained": full * counted(size)
            + (passes.reduced * counted(few) if passes.reduced else 0),
            "samples_evaluated": passes.evaluated + looked_at * (size - counted(size)),
            "samples_of_full_training": self.epochs * counted(size),
        }

    # state

    def state(self) -> dict[str, np.ndarray]:
        """Return counters, the subset and the records."""
        own = {
            "counts": np.array([self._trained, self._evaluated], np.int64),
            "seconds": np.array([self._choosing, self._measuring]),
            "subset": self._subset,
            "chosen": self._chosen,
            "given": self._given,
        }
        for record in (self._movements, self._losses):
            own |= {} if record is None else record.state()
        return own

    def load_state(self, state: dict[str, np.ndarray]) -> None:
        """Take back what `state` returned."""
        self._trained, self._evaluated = (int(value) for value in state["counts"])
        self._choosing, self._measuring = (float(value) for value in state["seconds"])
        self._subset, self._given = state["subset"], state["given"]
        self._chosen = state["chosen"]
        for record in (self._movements, self._losses):
            if record is not None:
                record.load_state(state)
