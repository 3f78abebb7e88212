"""Sharpness-aware minimisation: both passes in one compiled step (arXiv:2010.01412)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import mindspore as ms
from mindspore import Parameter, ParameterTuple, Tensor, nn, ops

from ms_eff.methods.small_data.aside import Aside, move, statistics_of
from ms_eff.methods.small_data.settings import SAMSettings

__all__ = ["SharpGradient"]

_TINY = 1e-12  # of the published algorithm: no division by a norm of zero


class SharpGradient(nn.Cell):
    """The gradient at w + e, e = rho g / ||g|| over all weights (2010.01412, equation 2).

    g is the gradient of the same batch, averaged over the workers before e is made of it, so that
    all workers look at the same point. The weights come back bit for bit, and running statistics
    move in the first pass only. A loss scale divides out of e.

    Args:
        forward: (inputs, labels) -> (loss, outputs).
        weights: what the step trains; the norm goes over these.
        reduce: averages gradients over the workers.
        model: whose running statistics are kept.
        settings: see there.
        counter: int32, counts the steps for `every`.
    """

    def __init__(
        self,
        forward: nn.Cell,
        weights: Sequence[Parameter],
        reduce: Callable[..., Any],
        *,
        model: nn.Cell,
        settings: SAMSettings,
        counter: Parameter,
    ) -> None:
        super().__init__(auto_prefix=False)
        self.weights = ParameterTuple(weights)
        self.count = len(self.weights)
        self.with_grads = ms.value_and_grad(forward, None, self.weights, has_aux=True)
        self.reduce = reduce
        self.rho, self.every, self.adaptive = settings.rho, settings.every, settings.adaptive
        self.counter = counter
        self.flat = Aside(weights, "sam")
        self.statistics = Aside(statistics_of(model), "sam")

    def construct(self, inputs: Tensor, labels: Tensor) -> tuple[Any, tuple[Tensor, ...]]:
        """Return ((loss, outputs) of the first pass, gradients of the second)."""
        value, grads = self.with_grads(inputs, labels)
        grads = self.reduce(grads)
        if self.every == 1:
            return value, self._sharp(inputs, labels, grads)
        due = ops.equal(self.counter % self.every, 0)
        self.counter += 1
        if due:
            grads = self._sharp(inputs, labels, grads)
        return value, grads

    def _sharp(
        self, inputs: Tensor, labels: Tensor, grads: tuple[Tensor, ...]
    ) -> tuple[Tensor, ...]:
        self.flat()
        self.statistics()
        self._climb(grads)
        _, sharp = self.with_grads(inputs, labels)
        sharp = self.reduce(sharp)
        self.flat.put_back(sharp)
        self.statistics.put_back(sharp)
        return sharp

    def _climb(self, grads: tuple[Tensor, ...]) -> None:
        squares = ms.Tensor(0.0, ms.float32)
        for i in range(self.count):
            scaled = grads[i].astype(ms.float32)
            if self.adaptive:  # ASAM: T_w = diag(|w|), e = rho T_w^2 g / ||T_w g||
                scaled = scaled * ops.abs(self.weights[i])
            squares = squares + ops.reduce_sum(ops.square(scaled))
        steps = grads
        if self.adaptive:
            steps = ()
            for i in range(self.count):
                steps = (*steps, grads[i] * ops.square(self.weights[i]))
        move(self.weights, steps, self.rho / (ops.sqrt(squares) + _TINY), grads)
