"""The one training loop: epochs, phases, evaluation, checkpoints, stop and resume.

It knows no method by name; it asks each of them through the hooks of `ms_eff.methods.base`.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import mindspore as ms
import numpy as np
from mindspore import Parameter, Tensor, nn
from rich.console import Console

from ms_eff.errors import DivergedError
from ms_eff.methods.base import EpochEnd, Method, RunStart, StepBegin, StepEnd
from ms_eff.train import checkpoint
from ms_eff.train.evaluate import Score, evaluate, predict
from ms_eff.train.feed import Feed
from ms_eff.train.interrupt import Interrupted, StopFlag
from ms_eff.train.logs import EpochBar, History
from ms_eff.train.optim import OptimizerState
from ms_eff.train.precision import loss_scale, mixed_precision
from ms_eff.train.progress import Progress
from ms_eff.train.schedule import learning_rates
from ms_eff.train.settings import TrainSettings
from ms_eff.train.sink import require_queue, sunk_steps
from ms_eff.train.step import Forward, Step, TrainStep
from ms_eff.train.store import Store
from ms_eff.train.workers import gathered, summed

__all__ = ["Trainer"]

_MOST_OVERFLOWS = 30  # a dynamic scale reaches 1 from 2^16 in 16; more in a row is divergence


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
    ) -> None:
        if settings.sink:
            require_queue()
        self.feed, self.settings, self.methods = feed, settings, methods
        self.description = description or {}
        self.worker = feed.worker
        self.console = console or Console(stderr=True, quiet=self.worker.rank > 0)
        self.store = Store(folder / "checkpoints", settings.keep)
        self.model = mixed_precision(model, settings.precision)
        self.weights = tuple(model.trainable_params())
        self.scale = loss_scale(settings)
        self.averaged = self._new_average()
        for method in methods:
            method.epochs = settings.epochs
            method.on_start(self._run_start())
        self.steps = [self._steps_in(epoch) for epoch in range(settings.epochs)]
        warmup = round(settings.warmup_epochs * self.steps[0]) if self.steps else 0
        rates = learning_rates(settings, max(sum(self.steps), 1), warmup)
        self.optimizer = OptimizerState(self.weights, settings, rates)
        self.compiled: dict[tuple[str, ...], TrainStep] = {}
        self.progress = Progress()
        self.history = History(folder, settings.tensorboard and self.worker.rank == 0)

    def fit(self) -> list[dict[str, Any]]:
        """Train to the end; return one row an epoch. The model ends with its averaged weights.

        Raises:
            Interrupted: SIGINT or SIGTERM came; everything is saved.
            DivergedError: loss or weights stopped being finite.
        """
        self._resume()
        try:
            with StopFlag() as stop:
                while self.progress.epoch < self.settings.epochs:
                    self._run_epoch(stop)
        finally:
            self.history.close()
        for method in self.methods:
            method.on_train_end()
        self._load_average()
        return self.progress.history

    def score(self) -> Score:
        """Evaluate on the test split, with averaged weights if there are any."""
        with self._average_in_place():
            return evaluate(self.model, self.feed.test())

    # one epoch

    def _run_epoch(self, stop: StopFlag) -> None:
        p, steps = self.progress, self.steps[self.progress.epoch]
        cell = self._step_for(p.epoch)
        title = f"epoch {p.epoch + 1}/{self.settings.epochs}"
        began, before = time.monotonic(), p.seconds
        with EpochBar(self.console, title, steps, p.batch, self.settings.log_every) as bar:
            for loss, samples in self._losses(cell, steps, stop):
                p.loss_sum += loss
                p.seconds = before + time.monotonic() - began
                bar.advance(p.loss_sum / p.batch, samples * self.worker.size)
                if p.batch < steps:
                    self._between_steps(stop)
        self._end_epoch(bar.rate(), began, before)
        if stop.received is not None:  # after the last epoch too: more may follow, as fine-tuning
            raise Interrupted(stop.received, self._save())

    def _losses(self, cell: TrainStep, steps: int, stop: StopFlag) -> Iterator[tuple[float, int]]:
        """Run the epoch's remaining steps; yield each one's loss and sample count."""
        indices = np.arange(len(self.feed.data.train))
        for method in self.methods:
            indices = method.subset(self.progress.epoch, indices)
        if self.settings.sink and not any(m.watches_steps for m in self.methods):
            yield from sunk_steps(self, cell, indices, steps)
            return
        for inputs, labels, used in self.feed.train(
            self.progress.epoch, indices, self.progress.batch
        ):
            cell.set_train(True)
            self._announce(used)
            loss, outputs, rate = cell(inputs, labels)
            stop.arm()
            self.count_step(float(loss.asnumpy()), float(rate.asnumpy()) if self.scale else 0.0)
            self._tell_watchers(used, outputs)
            yield float(loss.asnumpy()), len(used)

    def count_step(self, loss: float, rate: float) -> None:
        """Count one step; a negative rate says that it was skipped for overflow."""
        p = self.progress
        p.step += 1
        p.batch += 1
        p.overflows = p.overflows + 1 if rate < 0 else 0
        if p.overflows > _MOST_OVERFLOWS or (rate >= 0 and not math.isfinite(loss)):
            raise self._diverged(f"loss is {loss}")

    def _announce(self, indices: Tensor) -> None:
        for method in self.methods:
            if method.watches_steps:
                method.on_step_begin(StepBegin(self.progress.epoch, indices.asnumpy()))

    def _tell_watchers(self, indices: Tensor, outputs: Tensor) -> None:
        watching = [m for m in self.methods if m.watches_steps]
        if watching:
            p, everybody = self.progress, gathered(indices).asnumpy()
            event = StepEnd(p.epoch, p.step, everybody, gathered(outputs))
            for method in watching:
                method.on_step_end(event)

    def _between_steps(self, stop: StopFlag) -> None:
        if stop.received is not None:
            raise Interrupted(stop.received, self._save())
        every = self.settings.save_every_steps
        if every and self.progress.step % every == 0:
            self._save()

    def _end_epoch(self, rate: float, began: float, before: float) -> None:
        p = self.progress
        last = p.epoch == self.settings.epochs - 1
        row: dict[str, Any] = {
            "epoch": p.epoch + 1,
            "step": p.step,
            "seconds": 0.0,
            "lr": self.optimizer.last_rate,
            "train_loss": p.loss_sum / max(p.batch, 1),
            "samples_per_second": round(rate, 1),
        }
        if last or (p.epoch + 1) % self.settings.eval_every == 0:
            score = self.score()
            row |= {"loss": score.loss, "accuracy": score.accuracy}
            p.note_score(score.accuracy)
        event = EpochEnd(p.epoch, self.settings.epochs, self.model, self._predict)
        for method in self.methods:
            method.on_epoch_end(event)
        p.seconds = before + time.monotonic() - began
        row["seconds"] = round(p.seconds, 3)
        p.history.append(row)
        p.next_epoch()
        self._tell(row)
        if last or p.best_step == p.step or p.epoch % self.settings.save_every == 0:
            self._save()

    def _tell(self, row: dict[str, Any]) -> None:
        score = f" · accuracy {row['accuracy']:.4f}" if "accuracy" in row else ""
        self.console.print(
            f"epoch {row['epoch']}/{self.settings.epochs} · loss {row['train_loss']:.4f}{score} "
            f"· {row['samples_per_second']:.0f} samples/s · {row['seconds']:.0f} s"
        )
        if self.worker.rank == 0:
            self.history.write(self.progress.history)

    def _steps_in(self, epoch: int) -> int:
        size = len(self.feed.data.train)
        for method in self.methods:
            size = method.subset_size(epoch, size)
        return self.feed.steps(size)

    def _predict(self, indices: np.ndarray) -> np.ndarray:
        """Return (n, ...) outputs, each worker doing its share; zeros for a damaged picture."""
        size = self.worker.size
        shared = size > 1 and len(indices) >= size
        own = indices[self.worker.rank :: size] if shared else indices
        outputs, found = predict(self.model, self.feed.chosen(own))
        order = np.argsort(indices)
        every = np.zeros((len(indices), *outputs.shape[1:]))
        every[order[np.searchsorted(indices, found, sorter=order)]] = outputs
        return summed(every) if shared else every

    def _run_start(self) -> RunStart:
        feed = self.feed
        split, batch = feed.data.train, feed.settings.batch_size
        together = batch * self.worker.size
        return RunStart(
            labels=split.labels,
            classes=split.classes,
            batch_size=batch,
            counted=lambda size: min(size, feed.steps(size) * together),
            show=lambda index: feed.data.show(index),
            tell=self.console.print,
        )

    # compiled steps

    def _step_for(self, epoch: int) -> TrainStep:
        """Return the compiled step of that epoch's phases, building it the first time."""
        phases = tuple(method.phase(epoch) for method in self.methods)
        if phases not in self.compiled:
            loss = nn.CrossEntropyLoss(label_smoothing=self.settings.label_smoothing)
            step = Step(self.model, Forward(self.model, loss), self.weights)
            for method, phase in zip(self.methods, phases, strict=True):
                step = method.change_step(step, phase)
            self.compiled[phases] = TrainStep(
                step,
                self.optimizer,
                average=(self.settings.ema, self.averaged) if self.settings.ema else None,
                scale=self.scale,
                clip_norm=self.settings.clip_norm,
                world_size=self.worker.size,
            )
        return self.compiled[phases]

    # averaged weights

    def _new_average(self) -> dict[str, Parameter]:
        if self.settings.ema is None:
            return {}
        return {
            w.name: Parameter(Tensor(w.asnumpy()), f"ema.{w.name}", requires_grad=False)
            for w in self.weights
        }

    def _load_average(self) -> None:
        for w in self.weights if self.averaged else ():
            w.set_data(Tensor(self.averaged[w.name].asnumpy()))

    @contextmanager
    def _average_in_place(self) -> Iterator[None]:
        own = {w.name: w.asnumpy().copy() for w in self.weights} if self.averaged else {}
        self._load_average()
        try:
            yield
        finally:
            for w in self.weights if own else ():
                w.set_data(Tensor(own[w.name]))

    # checkpoints

    def _save(self) -> Path:
        """Write a checkpoint (rank 0 does, for all) and return its path."""
        weights = {p.name: p.asnumpy() for p in self.model.get_parameters()}
        if not all(np.isfinite(w).all() for w in weights.values()):
            raise self._diverged("the weights are not finite")
        if self.worker.rank == 0:
            state = {**self.description, **self.progress.to_state()}
            self.store.save(self.progress.step, weights, state, self._arrays())
        return self.store.path(self.progress.step)

    def _arrays(self) -> dict[str, np.ndarray]:
        arrays = self.optimizer.arrays()
        arrays |= {p.name: p.asnumpy() for p in self.averaged.values()}
        arrays |= self.scale.arrays() if self.scale else {}
        for method in self.methods:
            arrays |= {f"method.{method.name}.{k}": v for k, v in method.state().items()}
        return arrays | {"random": ms.get_rng_state().asnumpy()}

    def _resume(self) -> None:
        found, complaints = self.store.latest()
        for complaint in complaints:
            self.console.print(f"skipped: {complaint}")
        if found is None:
            return
        checkpoint.assign(self.model, found.weights, found.path)
        arrays = found.training
        self.optimizer.load(arrays)
        for p in self.averaged.values():
            p.set_data(Tensor(arrays[p.name]))
        if self.scale:
            self.scale.load(arrays)
        for method in self.methods:
            prefix = f"method.{method.name}."
            own = {k.removeprefix(prefix): v for k, v in arrays.items() if k.startswith(prefix)}
            method.load_state(own)
        ms.set_rng_state(Tensor(arrays["random"]))
        self.progress = Progress.from_state(found.state)
        if self.progress.epoch < self.settings.epochs:
            self.console.print(f"resuming from {found.path} (step {self.progress.step})")

    def _diverged(self, what: str) -> DivergedError:
        good = self.store.steps()
        last = f"last good checkpoint: {self.store.path(good[-1])}" if good else "no checkpoint yet"
        return DivergedError(
            f"training diverged at step {self.progress.step} (epoch {self.progress.epoch + 1}): "
            f"{what}; {last}. Lower train.lr, set train.clip_norm, or check the data"
        )
