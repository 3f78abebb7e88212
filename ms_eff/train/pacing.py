"""How the schedule runs: over a number of steps, or over a time budget, fitted as it goes."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import replace

import numpy as np

from ms_eff.train.budget import FIRST, Budget, Fitted
from ms_eff.train.optim import OptimizerState
from ms_eff.train.progress import Progress
from ms_eff.train.schedule import learning_rates
from ms_eff.train.settings import TrainSettings

__all__ = ["Pace"]


class Pace:
    """The learning rates of a run, and its time budget if it has one.

    Args:
        settings: how to train.
        steps: of each epoch; with a budget, the most there can be.
    """

    def __init__(self, settings: TrainSettings, steps: Sequence[int]) -> None:
        self.settings, self.steps = settings, steps
        self.most = max(sum(steps), 1)
        self.budget: Budget | None = None
        self.fitted = Fitted(0, 0.0, self.most)
        self._has_fit, self._is_new = False, False

    def rates(self) -> np.ndarray:
        """Return the (steps,) learning rates of a run without a budget."""
        return self._rates(self.most, None)

    def start(self, budget: Budget, progress: Progress, optimizer: OptimizerState) -> None:
        """Run over a budget from here on, taking up where an earlier call stopped."""
        self.budget, self._is_new = budget, progress.step == 0
        if progress.step > 0:
            left = max(self.most - progress.step, 1)
            self.fitted = Fitted(progress.step, progress.share, left)
            self._set_rates(optimizer, progress.step / max(progress.share, 1e-9))

    def step_done(self, progress: Progress, kind: Hashable, optimizer: OptimizerState) -> None:
        """Measure a step; fit the schedule as soon as there is something to go by.

        Raises:
            ConfigError: the budget is used up by the first step.
        """
        if self.budget is None:
            return
        self.budget.step_done(kind)
        progress.first_step = self.budget.first_step
        progress.share = self.fitted.share_at(progress.step)
        if progress.step == 1:
            self.budget.check_start()
        if not self._has_fit and self.budget.measured >= FIRST:
            self.refit(progress, optimizer)

    def refit(self, progress: Progress, optimizer: OptimizerState) -> None:
        """Spread what is left of the schedule over the steps that fit into what is left of time."""
        if self.budget is None or self.budget.measured == 0:
            return
        taken, settings = self.budget.taken, self.settings
        often = taken["evaluation"] / settings.eval_every + taken["saving"] / settings.save_every
        often += self.budget.between
        steps = self.steps[min(progress.epoch, len(self.steps) - 1)]
        most = max(self.most - progress.step, 1)
        self.fitted = self.budget.fit(progress.step, progress.share, often / steps, most)
        if self._is_new and not self._has_fit:  # until now the share was of the most steps
            share = progress.step / (progress.step + self.fitted.steps)
            self.fitted = replace(self.fitted, share=share)
        self._has_fit = True
        self._set_rates(optimizer, progress.step + self.fitted.steps)

    def out_of_time(self, kind: Hashable, epoch: int | None = None) -> bool:
        """Tell whether training has to end here.

        Args:
            kind: of the step that would come next.
            epoch: the one that would come next, from 0, if one has just ended: its evaluation and
                checkpoint come before that step.
        """
        if self.budget is None:
            return False
        between = 0.0 if epoch is None else self.budget.between
        if epoch is not None and epoch % self.settings.eval_every == 0:
            between += self.budget.taken["evaluation"]
        if epoch is not None and epoch % self.settings.save_every == 0:
            between += self.budget.taken["saving"]
        return not self.budget.has_time(kind, between)

    def epochs(self, progress: Progress, epoch: int) -> int:
        """Return how many epochs there will be, as far as is known.

        With a budget it is the number by which `epoch / epochs` is the share of the schedule that
        is done, so that methods may go by it.

        Args:
            progress: where training stands; a resumed run goes by its share from the start.
            epoch: epochs done by now, from 0.
        """
        if self.budget is None or progress.share <= 0.0 or (self._is_new and not self._has_fit):
            return len(self.steps)
        done = float(epoch)
        if epoch == progress.epoch:  # the share counts the steps of an epoch that was cut, too
            done += progress.batch / max(self.steps[min(epoch, len(self.steps) - 1)], 1)
        return min(max(round(done / progress.share), epoch + 1), len(self.steps))

    def _set_rates(self, optimizer: OptimizerState, total: float) -> None:
        """Put new rates in place of those of the steps that are still to come."""
        rates, done = optimizer.rates.asnumpy().copy(), int(optimizer.step.asnumpy())
        ahead = np.minimum(np.arange(len(rates) - done) / self.fitted.steps, 1.0)
        share = self.fitted.share + (1.0 - self.fitted.share) * ahead
        rates[done:] = self._rates(max(round(total), 1), share * total)
        optimizer.set_rates(rates)

    def _rates(self, total: int, at: np.ndarray | None) -> np.ndarray:
        first = self.steps[0] if self.steps else 0
        warmup = round(self.settings.warmup_epochs * first)
        return learning_rates(self.settings, total, warmup, self.settings.flat_epochs * first, at)
