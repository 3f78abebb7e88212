"""The training step that is timed: the one of `ms-eff train`, nothing added."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from mindspore import Parameter, nn

from ms_eff.train.optim import OptimizerState
from ms_eff.train.settings import TrainSettings
from ms_eff.train.step import Forward, Step, TrainStep
from ms_eff.train.tasks import task_of

__all__ = ["plain_step"]


def plain_step(
    model: nn.Cell,
    settings: TrainSettings,
    runs: int,
    weights: Sequence[Parameter] | None = None,
) -> TrainStep:
    """Return the plain step: no clipping, average, scaling or methods' changes.

    The learning rate is too small to matter.

    Args:
        model: the network.
        settings: of the optimiser.
        runs: how often it will be called, at most ten times that.
        weights: what it trains; all trainable ones if None.
    """
    chosen = tuple(model.trainable_params() if weights is None else weights)
    rates = np.full(10 * runs + 100, 1e-6, np.float32)  # one entry a step, warm-up included
    return TrainStep(
        Step(model, Forward(model, task_of(model).loss()), chosen),
        OptimizerState(chosen, settings, rates),
    )
