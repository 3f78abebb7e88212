"""A forward in which samples count differently."""

from __future__ import annotations

import mindspore as ms
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
        weights: (B,) of the batch at hand; steps of several phases share them.
    """

    def __init__(self, forward: Forward, weights: Parameter) -> None:
        super().__init__(forward.model, forward.loss)
        self.scaled = ScaledGradient()
        self.weights = weights

    def construct(self, inputs: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Return the scalar float32 loss and the model's outputs."""
        outputs = self.model(inputs)
        weighted = self.scaled(outputs.astype(ms.float32), self.weights)
        return self.loss(weighted, labels), outputs
