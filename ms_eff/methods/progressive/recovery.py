"""Training between two steps of a family: AdamW on packed blocks, resumable at the batch."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
from mindspore import Tensor, nn, ops
from rich.console import Console

from ms_eff.data.language import Blocks
from ms_eff.errors import DivergedError
from ms_eff.methods.progressive.fit import check_share
from ms_eff.methods.progressive.settings import RecoverySettings
from ms_eff.runtime import Worker
from ms_eff.train import checkpoint
from ms_eff.train.graph_cache import kept_graph
from ms_eff.train.interrupt import Interrupted, StopFlag
from ms_eff.train.logs import EpochBar
from ms_eff.train.optim import OptimizerState
from ms_eff.train.precision import in_float32, loss_scale, mixed_precision
from ms_eff.train.pulse import Pulse
from ms_eff.train.recompute import recompute_blocks
from ms_eff.train.schedule import learning_rates
from ms_eff.train.settings import TrainSettings
from ms_eff.train.state import restore, state_of
from ms_eff.train.step import Forward, Step, TrainStep
from ms_eff.train.store import Store
from ms_eff.train.workers import agreed_signal, require_same

__all__ = ["Recovery", "TokenLoss", "steps_for"]

_LOG_EVERY = 20


class TokenLoss(nn.Cell):
    """Mean cross entropy of logits (B, N, V) against next tokens (B, N)."""

    def construct(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the mean over all positions."""
        rows = ops.reshape(logits, (-1, logits.shape[-1]))
        return ops.cross_entropy(rows, ops.reshape(labels, (-1,)))


def steps_for(tokens: int, settings: RecoverySettings) -> int:
    """Return how many batches hold at least that many tokens.

    >>> steps_for(10_000, RecoverySettings(files=("a.txt",), batch=8, block=512))
    3
    """
    return math.ceil(tokens / (settings.batch * settings.block))


class Recovery:
    """One step's training.

    Args:
        network: token ids to logits; trained in place.
        blocks: the text; `first` is the batch to begin with, so that steps share no text before
            all of it was seen.
        settings: how.
        steps: batches.
        folder: of the checkpoints; a run that was stopped goes on from the last.
        worker: this process's place among several, which share each batch.
        console: where to tell what happens.
        cache: folder that keeps the compiled step for later processes, or None.

    Raises:
        ConfigError: the workers cannot share a batch evenly.
    """

    def __init__(
        self,
        network: nn.Cell,
        blocks: Blocks,
        settings: RecoverySettings,
        steps: int,
        folder: Path,
        *,
        first: int = 0,
        worker: Worker | None = None,
        console: Console | None = None,
        cache: Path | None = None,
    ) -> None:
        self.worker, self.cache = worker or Worker(), cache
        check_share(settings, self.worker.size)
        train = TrainSettings(
            optimizer="adamw",
            lr=settings.lr,
            betas=(0.9, 0.95),
            weight_decay=settings.weight_decay,
            clip_norm=settings.clip_norm,
            precision=settings.precision,
        )
        self.blocks, self.settings, self.steps, self.first = blocks, settings, steps, first
        if settings.recompute:
            recompute_blocks(network)
        self.network = mixed_precision(network, train.precision)
        self.weights = tuple(network.trainable_params())
        rates = learning_rates(train, steps, round(settings.warmup * steps))
        self.optimizer = OptimizerState(self.weights, train, rates)
        self.scale = loss_scale(train)
        step = Step(network, Forward(self.network, TokenLoss()), self.weights)
        self.cell = TrainStep(
            step,
            self.optimizer,
            scale=self.scale,
            clip_norm=train.clip_norm,
            world_size=self.worker.size,
        )
        self.store = Store(folder / "checkpoints", keep=1)
        self.console = console or Console(stderr=True, quiet=self.worker.rank > 0)
        self.losses: list[float] = []

    def run(self, title: str = "recovery") -> list[float]:
        """Train to the end and return the loss of every batch, those of earlier calls too.

        Raises:
            Interrupted: SIGINT or SIGTERM came; everything is saved.
            DivergedError: the loss is no longer finite.
        """
        self._resume()
        done = len(self.losses)
        bar = EpochBar(self.console, title, self.steps, done, _LOG_EVERY)
        with StopFlag() as stop, bar, Pulse() as pulse:
            for number in range(done, self.steps):
                self._step(number)
                pulse.beat()
                stop.arm()
                recent = self.losses[-_LOG_EVERY:]
                bar.advance(sum(recent) / len(recent), self.settings.batch)
                last = number == self.steps - 1
                received = agreed_signal(stop.received)
                if last or received is not None or (number + 1) % self.settings.save_every == 0:
                    path = self._save()  # the last too: what comes next takes minutes, and may stop
                if received is not None and not last:
                    raise Interrupted(received, path)
        if self.scale is not None:  # members are judged in float32, as whoever loads them does
            in_float32(self.network)
        return self.losses

    def _step(self, number: int) -> None:
        ids = self.blocks.batch_at(self.first + number, self.worker.rank, self.worker.size)
        self.cell.set_train(True)
        inputs = [Tensor(np.ascontiguousarray(part)) for part in (ids[:, :-1], ids[:, 1:])]
        with kept_graph(self.cache, self.cell, inputs, self.settings):
            loss, _, _ = self.cell(*inputs)
        value = float(loss.asnumpy())
        if not math.isfinite(value) and self.scale is None:
            raise DivergedError(
                f"recovery diverged at batch {number}: loss is {value}; lower recovery.lr, or set "
                "recovery.clip_norm"
            )
        self.losses.append(value)

    def _save(self) -> Path:
        step = len(self.losses)
        if self.worker.rank == 0:
            weights = {p.name: p.asnumpy() for p in self.network.get_parameters()}
            arrays = state_of([self.optimizer, self.scale])
            self.store.save(step, weights, {"losses": self.losses}, arrays)
        return self.store.path(step)

    def _resume(self) -> None:
        found, complaints = self.store.latest()
        for complaint in complaints:
            self.console.print(f"skipped: {complaint}")
        require_same(len(found.state["losses"]) if found else 0, str(self.store.folder))
        if found is None:
            return
        checkpoint.assign(self.network, found.weights, found.path)
        restore(found.training, [self.optimizer, self.scale])
        self.losses = list(found.state["losses"])
        self.console.print(f"resuming from {found.path} (batch {len(self.losses)})")
