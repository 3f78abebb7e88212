"""What all workers of a data-parallel job must hold alike, or agree on."""

from __future__ import annotations

import signal
from collections.abc import Sequence

import numpy as np
from mindspore import Parameter, Tensor, ops

from ms_eff.errors import CheckpointError

__all__ = [
    "agreed_signal",
    "average",
    "gathered",
    "mean",
    "require_same",
    "summed",
    "wait_for_all",
]

_SIGNALS = (signal.SIGTERM, signal.SIGINT)


def summed(array: np.ndarray) -> np.ndarray:
    """Return the sum of all workers' arrays, float64; the array itself where there is one worker.

    The sums are made in float32.
    """
    if _alone():
        return array
    return ops.AllReduce()(Tensor(array.astype(np.float32))).asnumpy().astype(np.float64)


def mean(value: float) -> float:
    """Return the mean of all workers' values; the value itself where there is one worker."""
    return value if _alone() else float(summed(np.array([value]))[0]) / _count()


def gathered(array: Tensor) -> Tensor:
    """Return the workers' tensors of one shape joined along the first axis, in order of rank."""
    return array if _alone() else ops.AllGather()(array)


def agreed_signal(received: int | None) -> int | None:
    """Return the signal that some worker has received, so that all stop after the same step.

    A signal reaches the workers at different moments; one that stopped by itself would leave the
    others waiting for its gradients.
    """
    if _alone():
        return received
    counts = summed(np.array([received == number for number in _SIGNALS], np.float32))
    return next((int(n) for n, count in zip(_SIGNALS, counts, strict=True) if count), None)


def average(parameters: Sequence[Parameter]) -> None:
    """Replace parameters by their means over all workers, in place."""
    if _alone() or not parameters:
        return
    arrays = [parameter.asnumpy() for parameter in parameters]
    flat = summed(np.concatenate([array.ravel() for array in arrays]))
    means = np.split(flat / _count(), np.cumsum([array.size for array in arrays])[:-1])
    for parameter, array, mean in zip(parameters, arrays, means, strict=True):
        parameter.set_data(Tensor(mean.reshape(array.shape).astype(array.dtype)))


def require_same(step: int, folder: str) -> None:
    """Refuse workers that found checkpoints of different steps.

    Raises:
        CheckpointError: hosts see different folders under one name.
    """
    steps = gathered(Tensor(np.array([step], np.int32))).asnumpy().tolist()
    if len(set(steps)) > 1:
        raise CheckpointError(
            f"{folder}: the workers found checkpoints of steps {steps}; the output folder must be "
            "on a disk that all hosts share"
        )


def wait_for_all() -> None:
    """Wait until every worker is here."""
    summed(np.zeros(1))


def _alone() -> bool:
    return _count() == 1


def _count() -> int:
    from mindspore.communication import GlobalComm, get_group_size

    return int(get_group_size()) if GlobalComm.INITED else 1
