"""Learning rates of all steps, as one array: schedules are data, the compiled step only indexes."""

from __future__ import annotations

import numpy as np

from ms_eff.train.settings import TrainSettings

__all__ = ["learning_rates"]


def learning_rates(settings: TrainSettings, steps: int, warmup_steps: int) -> np.ndarray:
    """Return the (steps,) float32 learning rates: linear warm-up, then the schedule.

    Warm-up step i (from 0) has lr (i + 1) / warmup_steps; the schedule runs over what is left, its
    first step at full `lr`, `cosine` and `linear` approaching `final_lr_ratio` after the last.

    >>> rates = learning_rates(TrainSettings(lr=1.0, schedule="linear"), 4, 0)
    >>> rates.tolist()
    [1.0, 0.75, 0.5, 0.25]
    """
    warmup_steps = min(warmup_steps, steps)
    rising = (np.arange(warmup_steps) + 1) / max(warmup_steps, 1)
    done = np.arange(steps - warmup_steps) / max(steps - warmup_steps, 1)  # in [0, 1)
    return (settings.lr * np.concatenate([rising, _shape(settings, done)])).astype(np.float32)


def _shape(settings: TrainSettings, done: np.ndarray) -> np.ndarray:
    low = settings.final_lr_ratio
    match settings.schedule:
        case "linear":
            return low + (1 - low) * (1 - done)
        case "cosine":
            return low + (1 - low) * (1 + np.cos(np.pi * done)) / 2
        case "step":
            passed = np.searchsorted(settings.milestones, done, side="right")
            return settings.gamma ** passed.astype(float)
        case _:
            return np.ones_like(done)
