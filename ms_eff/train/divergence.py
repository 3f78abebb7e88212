"""When a step counts as divergence, and what is to blame."""

from __future__ import annotations

import math

import numpy as np
from mindspore import Tensor

__all__ = ["divergence", "not_finite"]

_MOST_OVERFLOWS = 30  # a dynamic scale reaches 1 from 2^16 in 16; more in a row is divergence


def divergence(
    loss: float, rate: float, overflows: int, batch: tuple[Tensor, Tensor] | None = None
) -> str | None:
    """Say what went wrong in a step, or return None.

    Args:
        loss: of the step.
        rate: negative if the step was skipped for overflow.
        overflows: steps skipped in a row, this one included.
        batch: (inputs, indices), if they are at hand: whether a sample is to blame.

    >>> divergence(0.5, 0.1, 0)
    >>> divergence(math.inf, 0.1, 0)
    'loss is inf'
    """
    is_sound = rate >= 0 and math.isfinite(loss)
    if batch and not is_sound and (odd := not_finite(*batch)):
        return f"training sample {odd[0]} holds numbers that are not finite"
    if overflows > _MOST_OVERFLOWS or (rate >= 0 and not is_sound):
        return f"loss is {loss}"
    return None


def not_finite(inputs: Tensor, indices: Tensor) -> list[int]:
    """Return which samples (numbers of the training data) of a batch hold NaN or infinity.

    >>> not_finite(Tensor(np.float32([[1, 2], [3, np.inf]])), Tensor(np.int32([7, 9])))
    [9]
    """
    flat = inputs.asnumpy().reshape(len(indices), -1)
    return [int(index) for index in indices.asnumpy()[~np.isfinite(flat).all(axis=1)]]
