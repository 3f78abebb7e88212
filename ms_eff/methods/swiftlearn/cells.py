"""A forward in which samples count differently."""

from __future__ import annotations

import mindspore as ms
import numpy as np
from mindspore import Parameter, Tensor, nn, ops

from ms_eff.train.step import Forward

__all__ = ["ScaledGradient", "WeightedForward"]


class ScaledGradient(nn.Cell):
    """The outputs as they are; the gradient of each sample times its weight."""

    def construct(self, outputs: Tensor, weights: Tensor) -> Tensor:
        """Return `outputs` (B, ...) unchanged; `weights` is (B,)."""
        return outputs * 1.0

    def bprop(
        self, outputs: Tensor, weights: Tensor, out: Tensor, dout: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return `dout` times the weights, and nothing for the weights."""
        wide = ops.reshape(weights, (-1,) + (1,) * (dout.ndim - 1))
        return dout * wide.astype(dout.dtype), ops.zeros_like(weights)


class WeightedForward(Forward):
    """A forward whose gradient is that of the mean of weight times loss (arXiv:2303.04947).

    The loss it returns stays the plain mean, which can be compared from run to run.

    Args:
        forward: whose model and loss these are.
        batch: samples in a batch of this worker.
    """

    def __init__(self, forward: Forward, batch: int) -> None:
        super().__init__(forward.model, forward.loss)
        self.scaled = ScaledGradient()
        ones = Tensor(np.ones(batch, np.float32))
        self.weights = Parameter(ones, name="swiftlearn.weights", requires_grad=False)

    def construct(self, inputs: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Return the scalar float32 loss and the model's outputs."""
        outputs = self.model(inputs)
        weighted = self.scaled(outputs.astype(ms.float32), self.weights)
        return self.loss(weighted, labels), outputs
