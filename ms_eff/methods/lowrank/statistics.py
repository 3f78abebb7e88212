"""Running statistics of normalisations, measured anew after a network was changed."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from mindspore import Tensor, nn
from mindspore.nn.layer.normalization import _BatchNorm

from ms_eff.errors import DataError

__all__ = ["estimate_statistics"]


class _Alone(nn.Cell):
    """Compiles a network under another key than its own, so that no graph of its own goes stale."""

    def __init__(self, network: nn.Cell) -> None:
        super().__init__(auto_prefix=False)
        self.network = network

    def construct(self, x: Tensor) -> Any:
        return self.network(x)


def estimate_statistics(network: nn.Cell, batches: Iterable[np.ndarray]) -> int:
    """Set every batch normalisation's running statistics to the mean over some batches.

    Each batch runs in training mode, so that every normalisation sees what the ones before it make
    of that very batch; the batches' means and variances are then averaged, each with equal weight.
    Norms with `use_batch_statistics=False` gather none, also in training, and keep what they have;
    so does one that no batch reaches.

    Args:
        network: changed in place; only its statistics are.
        batches: inputs of one shape, batch axis first.

    Returns:
        How many batches there were.

    Raises:
        DataError: there were none.
    """
    norms = [
        cell
        for _, cell in network.cells_and_names()
        if isinstance(cell, _BatchNorm) and cell.use_batch_statistics is not False
    ]
    training = {id(cell): cell.training for _, cell in network.cells_and_names()}
    alone = _Alone(network).set_train(True)
    pairs = [(norm.momentum, p) for norm in norms for p in (norm.moving_mean, norm.moving_variance)]
    kept = [p.asnumpy().copy() for _, p in pairs]
    sums = [np.zeros(p.shape) for _, p in pairs]
    count = 0
    for batch in batches:
        for _, p in pairs:  # from zero, one step of the running average is share x batch
            p.set_data(Tensor(np.zeros(p.shape, np.float32), p.dtype))
        alone(Tensor(np.asarray(batch, np.float32)))
        for total, (share, p) in zip(sums, pairs, strict=True):
            total += p.asnumpy() / share
        count += 1
    for cell in (c for _, c in network.cells_and_names()):
        cell.set_train(training[id(cell)])
    if not count:
        for old, (_, p) in zip(kept, pairs, strict=True):
            p.set_data(Tensor(old, p.dtype))
        raise DataError("calibration: no batch came, so no statistics could be measured")
    for index, (old, total, (_, p)) in enumerate(zip(kept, sums, pairs, strict=True)):
        mean = index - index % 2  # the sums of a norm's mean and of its variance stand side by side
        reached = any(part.any() for part in sums[mean : mean + 2])
        value = total / count if reached else old
        p.set_data(Tensor(value.astype(np.float32), p.dtype))
    return count
