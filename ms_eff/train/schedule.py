"""Learning rates of all steps, as one array: schedules are data, the compiled step only indexes."""

from __future__ import annotations

import numpy as np

from ms_eff.train.settings import TrainSettings

__all__ = ["learning_rates"]


def learning_rates(
    settings: TrainSettings,
    steps: int,
    warmup_steps: int,
    flat_steps: float = 0.0,
    at: np.ndarray | None = None,
) -> np.ndarray:
    """Return the (steps,) float32 learning rates: linear warm-up, then the schedule.

    Warm-up step i (from 0) has lr (i + 1) / warmup_steps; the schedule runs over what is left, its
    first step at full `lr`, `cosine` and `linear` approaching `final_lr_ratio` after the last.
    `peak` rises as a warm-up does and is at `final_lr_ratio` in the last `flat_steps`.

    Args:
        settings: schedule and peak.
        steps: of the whole training.
        warmup_steps: of them.
        flat_steps: likewise; at most as many as follow the peak.
        at: (n,) positions among the steps, fractions allowed, in place of 0 to steps - 1.

    >>> rates = learning_rates(TrainSettings(lr=1.0, schedule="linear"), 4, 0)
    >>> rates.tolist()
    [1.0, 0.75, 0.5, 0.25]
    """
    at = np.arange(steps) if at is None else at
    if settings.schedule == "peak":
        top = settings.peak_at * steps
        end = max(steps - flat_steps, top)
        shape = np.interp(at + 1, [0.0, top, end], [0.0, 1.0, settings.final_lr_ratio])
        return (settings.lr * shape).astype(np.float32)
    warmup_steps = min(warmup_steps, steps)
    done = np.maximum(at - warmup_steps, 0) / max(steps - warmup_steps, 1)  # in [0, 1)
    rising = (at + 1) / max(warmup_steps, 1)
    shape = np.where(at < warmup_steps, rising, _shape(settings, done))
    return (settings.lr * shape).astype(np.float32)


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
