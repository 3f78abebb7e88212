"""The one training loop: epochs, phases, evaluation, checkpoints, stop and resume.

It knows no method by name; it asks each of them through the hooks of `ms_eff.methods.base`.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from mindspore import Tensor, nn
from rich.console import Console

from ms_eff.methods.base import EpochEnd, Method
from ms_eff.runtime import close_gradients
from ms_eff.train import checkpoint
from ms_eff.train.average import Average
from ms_eff.train.budget import Budget
from ms_eff.train.divergence import divergence
from ms_eff.train.evaluate import Scored
from ms_eff.train.feed import Feed
from ms_eff.train.graph_cache import kept_graph
from ms_eff.train.hooks import Hooks, run_start, shared_predictions
from ms_eff.train.interrupt import Interrupted, StopFlag
from ms_eff.train.logs import EpochBar, passes
from ms_eff.train.optim import OptimizerState
from ms_eff.train.pacing import Pace
from ms_eff.train.precision import loss_scale, mixed_precision
from ms_eff.train.progress import Progress
from ms_eff.train.pulse import Pulse
from ms_eff.train.recompute import recompute_blocks
from ms_eff.train.rows import Rows
from ms_eff.train.saving import Saver
from ms_eff.train.settings import TrainSettings
from ms_eff.train.sink import require_queue, sunk_steps
from ms_eff.train.step import Forward, Step, TrainStep
from ms_eff.train.store import Store
from ms_eff.train.sync_norm import synchronised
from ms_eff.train.tasks import task_of
from ms_eff.train.workers import agreed_signal, mean

__all__ = ["Trainer"]

# share of the test split by which a time budget guesses what an evaluation takes
_TRIED = 0.1


class Trainer:
    """Trains one model; resumes by itself from what its folder holds.

    Args:
        model: the network, methods' changes included.
        feed: its batches.
        settings: how to train.
        folder: gets `checkpoints/`, `log.csv`, `log.jsonl`.
        description: `model` and `plans`, stored in each checkpoint so that it can be rebuilt.
        methods: their hooks are called in this order.
        console: where to tell what happens.
        cache: folder that keeps the first compiled step for later processes, or None.
        spent: seconds of the time budget that went before training, in making the network; a
            resumed run has them in its record.
    """

    def __init__(
        self,
        model: nn.Cell,
        feed: Feed,
        settings: TrainSettings,
        folder: Path,
        *,
        description: dict[str, Any] | None = None,
        methods: Sequence[Method] = (),
        console: Console | None = None,
        cache: Path | None = None,
        spent: float = 0.0,
    ) -> None:
        if settings.sink:
            require_queue()
        self.feed, self.settings, self.hooks = feed, settings, Hooks(methods)
        self.worker, self.task = feed.worker, task_of(feed.data)
        self.console = console or Console(stderr=True, quiet=self.worker.rank > 0)
        close_gradients()
        self.given, self.cache = model, cache
        if settings.sync_batch_norm:
            model = synchronised(model, self.worker.size)
        if settings.recompute:
            recompute_blocks(model)
        self.model = mixed_precision(model, settings.precision)
        self.scale = loss_scale(settings)
        self.average = Average(self.model, settings.ema, settings.ema_every)
        self.hooks.expect(settings.epochs)
        self.hooks.start(run_start(self.model, feed, settings, self.console.print))
        self.weights = (*model.trainable_params(), *self.hooks.own_weights())
        self.steps = [self._steps_in(epoch) for epoch in range(settings.epochs)]
        self.pace = Pace(settings, self.steps)
        self.optimizer = OptimizerState(self.weights, settings, self.pace.rates())
        self.store = Store(folder / "checkpoints", settings.keep)
        self.saver = Saver(
            self.store,
            self.model,
            self.average,
            [self.optimizer, self.average, self.scale],
            methods,
            description or {},
            self._together,
            self.worker.rank == 0,
        )
        self.compiled: dict[tuple[str, ...], TrainStep] = {}
        self.progress, self.pulse = Progress(seconds=spent), Pulse()
        self._began = time.monotonic()
        self.rows = Rows(
            folder,
            self.task,
            self.console,
            writes=self.worker.rank == 0,
            tensorboard=settings.tensorboard,
        )

    def fit(self) -> list[dict[str, Any]]:
        """Train to the end; return one row an epoch. The model ends with its averaged weights.

        Raises:
            Interrupted: SIGINT or SIGTERM came; everything is saved.
            DivergedError: loss or weights stopped being finite.
            ConfigError: the time budget has no room for a step.
        """
        self._resume()
        self._began = time.monotonic() - self.progress.seconds
        try:
            with self.pulse, StopFlag() as stop:
                if not self._is_over():
                    self._start_budget()
                while not self._is_over():
                    self._run_epoch(stop)
        finally:
            self.rows.close()
        self.hooks.conclude()
        self.average.take_over()
        if self.given is not self.model:
            weights = {p.name: p.asnumpy() for p in self.model.get_parameters()}
            checkpoint.assign(self.given, weights, self.store.folder)
        return self.progress.history

    def _is_over(self) -> bool:
        return self.progress.finished or self.progress.epoch >= self.settings.epochs

    def _start_budget(self) -> None:
        """Start the clock, and find out what an evaluation and a checkpoint take."""
        if self.settings.time_budget is None:
            return
        p, seconds = self.progress, self.settings.time_budget
        # by one clock, each worker stops at the same step
        budget = Budget(seconds, p.seconds, agree=mean, first_step=p.first_step)
        self.pace.start(budget, p, self.optimizer)
        self._tell_epochs(p.epoch)
        some = math.ceil(_TRIED * self.feed.test_batches)
        self._evaluate(islice(self.feed.test(), 1))  # compiles
        with budget.timed("evaluation"):
            self._evaluate(islice(self.feed.test(), some))
        budget.expect("evaluation", budget.taken["evaluation"] * self.feed.test_batches / some)
        if p.step == 0:
            self._save()
            budget.check_start()
        elif self.pace.out_of_time(self.hooks.phases(p.epoch)):
            self._end_here()

    def _end_here(self) -> None:
        """End with what earlier calls have trained: not even one more step fits."""
        p = self.progress
        if p.batch > 0:  # the epoch that was cut is the last one
            since = p.seconds - (p.history[-1]["seconds"] if p.history else 0.0)
            self._end_epoch(p.batch * self._together / max(since, 1e-9))
            return
        p.finished, row = True, p.history[-1]
        if not self.rows.has_score(row):
            self.rows.note(row, self.score(), p)
        p.seconds = self._seconds()
        row["seconds"] = round(p.seconds, 3)
        self._tell(row)
        self._save()

    def _seconds(self) -> float:
        """Return what has been spent, over all calls; with a budget, by its clock."""
        return self.pace.budget.now if self.pace.budget else time.monotonic() - self._began

    def _tell_epochs(self, epoch: int) -> None:
        self.hooks.expect(self.pace.epochs(self.progress, epoch))

    def score(self) -> Scored:
        """Evaluate on the test split, with averaged weights if there are any."""
        self.saver.share_statistics()
        with self.average.in_place(), self.pace.timed("evaluation"):
            return self._evaluate(self.feed.test())

    def _evaluate(self, batches: Iterable[tuple[Tensor, Tensor, Tensor]]) -> Scored:
        return self.task.evaluate(self.model, self.pulse.each(batches), self.settings.mirror_test)

    # one epoch

    def _run_epoch(self, stop: StopFlag) -> None:
        p, steps = self.progress, self.steps[self.progress.epoch]
        kind, cell = self.hooks.phases(p.epoch), self._step_for(p.epoch)
        title = f"epoch {p.epoch + 1}/{self.pace.epochs(p, p.epoch)}"
        if self.pace.budget:
            self.pace.budget.mark()
        with EpochBar(self.console, title, steps, p.batch, self.settings.log_every) as bar:
            for loss, samples in self._losses(cell, steps, stop):
                p.loss_sum += loss
                taken = p.batch - bar.done
                bar.advance(p.loss_sum / p.batch, samples * self.worker.size, taken)
                self.pace.step_done(p, kind, self.optimizer)
                p.seconds = self._seconds()
                if p.batch < steps:
                    if self.pace.out_of_time(kind):
                        break
                    self._between_steps(stop, taken)
        self._end_epoch(bar.rate())
        received = agreed_signal(stop.received)
        if received is not None:  # after the last epoch too: more may follow, as fine-tuning
            raise Interrupted(received, self._save())

    def _losses(self, cell: TrainStep, steps: int, stop: StopFlag) -> Iterator[tuple[float, int]]:
        """Run the epoch's remaining steps; yield each one's loss and sample count (sunk: sums)."""
        epoch = self.progress.epoch
        indices = self.hooks.subset(epoch, len(self.feed.data.train))
        if self.settings.sink and not self.hooks.watching():
            for losses, samples in sunk_steps(self, cell, indices, steps):
                stop.arm()
                yield losses, samples
            return
        for inputs, labels, used in self.feed.train(epoch, indices, self.progress.batch):
            cell.set_train(True)
            self.hooks.begin_step(epoch, used)
            with self._kept(cell, inputs, labels):
                loss, outputs, rate = cell(inputs, labels)
            stop.arm()
            rate_ = float(rate.asnumpy()) if self.scale else 0.0
            self.count_step(float(loss.asnumpy()), rate_, (inputs, used))
            self.hooks.end_step(epoch, self.progress.step, used, outputs)
            yield float(loss.asnumpy()), len(used)

    def _kept(self, cell: TrainStep, *inputs: Tensor) -> AbstractContextManager[None]:
        settings = (self.settings, self.hooks.settings(), self.hooks.phases(self.progress.epoch))
        return kept_graph(self.cache, cell, inputs, settings)

    def count_step(
        self, loss: float, rate: float, batch: tuple[Tensor, Tensor] | None = None
    ) -> None:
        """Count one step, of (inputs, indices); a negative rate: it was skipped for overflow."""
        p = self.progress
        self.pulse.beat()
        p.next_step(skipped=rate < 0)
        if (what := divergence(loss, rate, p.overflows, batch)) is not None:
            raise self.saver.diverged(p, what)

    def _between_steps(self, stop: StopFlag, taken: int) -> None:
        received = agreed_signal(stop.received)
        if received is not None:
            raise Interrupted(received, self._save())
        every = self.settings.save_every_steps
        if every and passes(self.progress.step, taken, every):
            self._save()

    def _end_epoch(self, rate: float) -> None:
        p = self.progress
        last = p.epoch == self.settings.epochs - 1
        if not last:
            self._tell_epochs(p.epoch + 1)  # first: the next epoch's phases follow from it
            p.finished = self.pace.out_of_time(self.hooks.phases(p.epoch + 1), p.epoch + 1)
        loss = mean(p.loss_sum / max(p.batch, 1))
        row = self.rows.new(p, self.optimizer.last_rate, loss, rate, self.feed.damaged())
        score: Scored | None = None
        if last or p.finished or (p.epoch + 1) % self.settings.eval_every == 0:
            score = self.score()
            self.rows.note(row, score, p)
        event = EpochEnd(
            p.epoch,
            self.pace.epochs(p, p.epoch + 1),
            self.model,
            self._predict,
            score,
            self.optimizer.restart,
        )
        self.hooks.end_epoch(event)
        p.seconds = self._seconds()
        row["seconds"] = round(p.seconds, 3)
        p.history.append(row)
        p.next_epoch()
        self._tell(row)
        if self._is_over() or p.best_step == p.step or p.epoch % self.settings.save_every == 0:
            self._save()
        if not self._is_over():
            self.pace.refit(p, self.optimizer)

    def _predict(self, indices: np.ndarray) -> np.ndarray:
        self.saver.share_statistics()  # a sample's outputs must not depend on whose it is
        return shared_predictions(self.model, self.feed, indices)

    def _tell(self, row: dict[str, Any]) -> None:
        epochs = row["epoch"] if self._is_over() else self.pace.epochs(self.progress, row["epoch"])
        self.rows.tell(row, epochs, self.progress.history)

    def _steps_in(self, epoch: int) -> int:
        return self.feed.steps(self.hooks.size(epoch, len(self.feed.data.train)))

    # compiled steps

    def _step_for(self, epoch: int) -> TrainStep:
        """Return the compiled step of that epoch's phases, building it the first time."""
        phases = self.hooks.phases(epoch)
        if phases not in self.compiled:
            loss = self.task.loss(self.settings.label_smoothing)
            step = Step(self.model, Forward(self.model, loss), self.weights)
            self.compiled[phases] = TrainStep(
                self.hooks.changed(step, phases),
                self.optimizer,
                average=self.average,
                scale=self.scale,
                clip_norm=self.settings.clip_norm,
                world_size=self.worker.size,
            )
        return self.compiled[phases]

    # checkpoints

    def _save(self) -> Path:
        with self.pace.timed("saving"):
            return self.saver.save(self.progress)

    @property
    def _together(self) -> int:
        """Samples of a step, all workers' together."""
        return self.feed.settings.batch_size * self.worker.size

    def _resume(self) -> None:
        found = self.saver.resume(self.console.print)
        if found is None:
            return
        self.progress, path = found
        if not self._is_over():
            self.console.print(f"resuming from {path} (step {self.progress.step})")
