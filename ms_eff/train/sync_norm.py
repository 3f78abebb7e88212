"""Batch normalisation over the batches of all workers.

MindSpore's own `nn.SyncBatchNorm` runs on Ascend only. This one is made of sums and `AllReduce`, so
that what is tested on a CPU is what runs on a board; parameters keep their names.
"""

from __future__ import annotations

import mindspore as ms
from mindspore import Tensor, nn, ops

from ms_eff.errors import ConfigError
from ms_eff.methods.replace import replaced

__all__ = ["SyncBatchNorm", "synchronised"]

_PLAIN = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


class SyncBatchNorm(nn.BatchNorm2d):
    """Batch normalisation with mean and variance of all workers' samples (arXiv:1502.03167).

    Two sums are exchanged, of the values and then of their squared distances from the mean: the
    usual single exchange of squares loses digits where the mean is large. Every worker must have as
    many samples as the others.

    Args:
        norm: the normalisation that it stands for; parameters and settings are taken over.
        workers: of the job.
    """

    def __init__(self, norm: nn.BatchNorm2d, workers: int) -> None:
        kept = 1.0 - norm.momentum  # the cell takes the kept share and holds the replaced one
        super().__init__(norm.num_features, eps=norm.eps, momentum=kept)
        self.kept, self.workers = kept, workers
        for name in ("gamma", "beta", "moving_mean", "moving_variance"):
            own, other = getattr(self, name), getattr(norm, name)
            own.set_data(Tensor(other.asnumpy()))
            own.name, own.requires_grad = other.name, other.requires_grad
        self.together = ops.AllReduce()

    def construct(self, x: Tensor) -> Tensor:
        """Map (N, C, ...) to the same shape."""
        flat = x.reshape(x.shape[0], x.shape[1], -1).astype(ms.float32)
        if self.training:
            count = flat.shape[0] * flat.shape[2] * self.workers
            mean = self.together(flat.sum((0, 2))) / count
            centred = flat - mean.reshape(1, -1, 1)
            variance = self.together((centred * centred).sum((0, 2))) / count
            self._move(mean, variance, count)
        else:
            mean, variance = self.moving_mean, self.moving_variance
            centred = flat - mean.reshape(1, -1, 1)
        scale = self.gamma / ops.sqrt(variance + self.eps)
        y = centred * scale.reshape(1, -1, 1) + self.beta.reshape(1, -1, 1)
        return y.reshape(x.shape).astype(x.dtype)

    def _move(self, mean: Tensor, variance: Tensor, count: int) -> None:
        unbiased = variance * (count / max(count - 1, 1))
        new_mean = self.kept * self.moving_mean + (1.0 - self.kept) * ops.stop_gradient(mean)
        new_variance = self.kept * self.moving_variance
        new_variance = new_variance + (1.0 - self.kept) * ops.stop_gradient(unbiased)
        ops.assign(self.moving_mean, new_mean)
        ops.assign(self.moving_variance, new_variance)


def synchronised(network: nn.Cell, workers: int) -> nn.Cell:
    """Return a copy of a network whose batch normalisations look at all workers' batches.

    One worker needs no copy: its batch is all there is.

    Args:
        network: any; parameter names stay.
        workers: of the job.

    Raises:
        ConfigError: there is no batch normalisation, or one that looks at parts of a batch.
    """
    norms = [cell for _, cell in network.cells_and_names() if isinstance(cell, _PLAIN)]
    parts = next((cell for cell in norms if type(cell) not in _PLAIN), None)
    if parts is not None:
        raise ConfigError(
            f"train.sync_batch_norm: {type(parts).__name__} looks at parts of one worker's batch; "
            "drop the method that put it there, or sync_batch_norm"
        )
    if not norms:
        raise ConfigError("train.sync_batch_norm: the network has no batch normalisation; drop it")
    if workers == 1:
        return network
    return replaced(network, [(norm, SyncBatchNorm(norm, workers)) for norm in norms])
