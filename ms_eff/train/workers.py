"""Arrays that all workers of a data-parallel job must hold alike."""

from __future__ import annotations

import numpy as np
from mindspore import Tensor, ops

__all__ = ["gathered", "summed"]


def summed(array: np.ndarray) -> np.ndarray:
    """Return the sum of all workers' arrays, float64; the array itself where there is one worker.

    The sums are made in float32.
    """
    if _alone():
        return array
    return ops.AllReduce()(Tensor(array.astype(np.float32))).asnumpy().astype(np.float64)


def gathered(array: Tensor) -> Tensor:
    """Return the workers' tensors of one shape joined along the first axis, in order of rank."""
    return array if _alone() else ops.AllGather()(array)


def _alone() -> bool:
    from mindspore.communication import GlobalComm, get_group_size

    return not GlobalComm.INITED or get_group_size() == 1
