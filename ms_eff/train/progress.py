"""Where training stands: what a checkpoint says besides arrays."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

__all__ = ["Progress"]


@dataclass
class Progress:
    """Counters of one training run.

    Attributes:
        epoch: the epoch in work, from 0.
        batch: steps done in it.
        step: steps done since the start.
        seconds: spent in training, evaluations and checkpoints, over all calls.
        loss_sum: of the steps done in this epoch.
        overflows: steps skipped in a row because a gradient was not finite.
        best_merit: of the best evaluation so far (the accuracy, or minus the loss of a language
            model), and the step it was found at.
        history: one row an epoch.
        share: of the schedule done, if there is a time budget.
        first_step: seconds that the longest first step of a phase took, compilation included, if
            there is a time budget.
        finished: whether the time budget is used up.
    """

    epoch: int = 0
    batch: int = 0
    step: int = 0
    seconds: float = 0.0
    loss_sum: float = 0.0
    overflows: int = 0
    best_merit: float | None = None
    best_step: int | None = None
    history: list[dict[str, Any]] = field(default_factory=list)
    share: float = 0.0
    first_step: float = 0.0
    finished: bool = False

    def to_state(self) -> dict[str, Any]:
        """Return the counters as JSON-able values."""
        return asdict(self)

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Progress:
        """Take the counters out of a checkpoint's state."""
        return cls(**{f.name: state[f.name] for f in fields(cls) if f.name in state})

    def note_score(self, merit: float) -> None:
        """Remember the best evaluation, by a number that is the higher the better."""
        if self.best_merit is None or merit > self.best_merit:  # of equals, the first
            self.best_merit, self.best_step = merit, self.step

    def next_epoch(self) -> None:
        """Begin the next epoch."""
        self.epoch, self.batch, self.loss_sum = self.epoch + 1, 0, 0.0
