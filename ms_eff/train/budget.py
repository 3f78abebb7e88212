"""A time budget: how many more steps fit, and when to stop. Times come from the run itself."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from statistics import fmean

from ms_eff.errors import ConfigError

__all__ = ["Budget", "Fitted"]

# steps measured before the first fit; how many of the last are averaged
FIRST, RECENT = 3, 32
# evaluations and checkpoints that are remembered: a slow moment long ago must not cost the end
_FEW = 3


@dataclass(frozen=True)
class Fitted:
    """A plan for the rest of training.

    Attributes:
        step: steps done when it was made.
        share: how much of the schedule was done then, in [0, 1).
        steps: how many more fit.
    """

    step: int
    share: float
    steps: int

    def share_at(self, step: int) -> float:
        """Return how much of the schedule is done after so many steps.

        >>> Fitted(step=10, share=0.5, steps=20).share_at(20)
        0.75
        """
        done = min(max(step - self.step, 0) / max(self.steps, 1), 1.0)
        return self.share + (1.0 - self.share) * done


class Budget:
    """Seconds for training, compilation, evaluation and saving included.

    What the end of training needs, one evaluation and one checkpoint, is kept back. The schedule
    runs over the budget rather than over a number of steps: each fit spreads what is left of it
    evenly over the steps that still fit, so that it goes on without a jump where steps become
    slower or faster (the rule is ours).

    Args:
        seconds: the budget.
        spent: of it by earlier calls of the same run, or by what came before training.
        clock: seconds, rising.
        agree: turns a worker's reading of its clock into one that all workers share.
        first_step: seconds that a first step took in an earlier call, compilation included.
    """

    def __init__(
        self,
        seconds: float,
        spent: float = 0.0,
        clock: Callable[[], float] = time.monotonic,
        agree: Callable[[float], float] = float,
        first_step: float = 0.0,
    ) -> None:
        self.seconds, self.clock, self.agree = seconds, clock, agree
        self._first_before = first_step
        self._started = clock() - spent
        self._marked = 0.0
        self._firsts: dict[Hashable, float] = {}
        self._steps: deque[float] = deque(maxlen=RECENT)
        self.taken = {"evaluation": 0.0, "saving": 0.0}
        self._lately = {kind: deque[float](maxlen=_FEW) for kind in self.taken}
        self._guessed: set[str] = set()
        self.between = 0.0  # epochs, besides evaluation and saving: the pipeline's start, logs
        self._aside = 0.0  # of the time since the last step, what `timed` has measured
        self.now = self.read()

    def read(self) -> float:
        """Return the seconds spent by now, the same on all workers, and remember them."""
        self.now = self.agree(self.clock() - self._started)
        return self.now

    @contextmanager
    def timed(self, kind: str) -> Iterator[None]:
        """Measure an `evaluation` or a `saving`; the longest of the last few counts."""
        began = self.read()
        yield
        taken = self.read() - began
        if kind in self._guessed:
            self._guessed.remove(kind)
            self._lately[kind].clear()
        self._lately[kind].append(taken)
        self.taken[kind] = max(self._lately[kind])
        self._aside += taken

    @property
    def reserve(self) -> float:
        """Seconds that the end of training needs."""
        return sum(self.taken.values())

    @property
    def first_step(self) -> float:
        """Seconds that the first step of a kind takes, compilation included, as far as known."""
        return max(self._firsts.values(), default=self._first_before)

    @property
    def measured(self) -> int:
        """How many steps have been measured, up to as many as are remembered."""
        return len(self._steps)

    def expect(self, kind: str, seconds: float) -> None:
        """Say what an `evaluation` or a `saving` takes, until a whole one has been measured."""
        self._guessed.add(kind)
        self.taken[kind] = seconds

    def mark(self) -> None:
        """Begin an epoch's first step here."""
        if self._firsts:
            self.between = max(self.read() - self._marked - self._aside, 0.0)
        self._marked, self._aside = self.read(), 0.0

    def step_done(self, kind: Hashable) -> None:
        """Measure a step; the first of each kind compiles and says nothing about the others."""
        now = self.read()
        if kind in self._firsts:
            self._steps.append(now - self._marked)
        else:
            self._firsts[kind] = now - self._marked
        self._marked, self._aside = now, 0.0

    def has_time(self, kind: Hashable, before: float = 0.0) -> bool:
        """Tell whether one more step fits before the end, by what the steps took lately.

        Args:
            kind: of that step; one that has not been compiled yet takes as long as others' first.
            before: seconds of what comes before it.
        """
        step = fmean(self._steps) if self._steps else 0.0
        if kind not in self._firsts:
            step = self.first_step
        return self.now + before + step + self.reserve <= self.seconds

    def fit(self, step: int, share: float, overhead: float, most: int) -> Fitted:
        """Plan the rest.

        Args:
            step: steps done.
            share: of the schedule, done by now.
            overhead: evaluations and checkpoints, in seconds a step.
            most: no more steps than that.
        """
        left = self.seconds - self.reserve - self.now
        each = fmean(self._steps) + overhead
        return Fitted(step, share, max(min(int(left / each), most), 1))

    def check_start(self) -> None:
        """Refuse a budget that has no room for a step.

        Raises:
            ConfigError: names what has been spent, what must be kept back, and what to do.
        """
        needed = self.now + self.reserve
        if needed > self.seconds:
            raise ConfigError(
                f"train.time_budget = {self.seconds:g}s: too short for one step: {self.now:.1f} s "
                f"are spent and the last evaluation and checkpoint take {self.reserve:.1f} s; give "
                f"at least {math.ceil(1.5 * needed)}s, or take a smaller model or data.test_limit"
            )
