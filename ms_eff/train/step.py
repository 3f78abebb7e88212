"""One training step as a value that methods change, and the cell that compiles it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import mindspore as ms
from mindspore import Parameter, ParameterTuple, Tensor, nn, ops

from ms_eff.train.average import Average
from ms_eff.train.optim import OptimizerState, Transform, Update
from ms_eff.train.scaling import LossScale

__all__ = ["Forward", "Step", "TrainStep", "plain_gradient"]


class Forward(nn.Cell):
    """Model and loss in one: (inputs, labels) -> (loss, outputs)."""

    def __init__(self, model: nn.Cell, loss: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__(auto_prefix=False)
        self.model = model
        self.loss = loss

    def construct(self, inputs: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Return the scalar float32 loss and the model's outputs."""
        outputs = self.model(inputs)
        return self.loss(outputs.astype(ms.float32), labels), outputs


def plain_gradient(
    forward: nn.Cell, weights: Sequence[Parameter], reduce: Callable[..., Any]
) -> Callable[..., Any]:
    """Return a function of the batch giving ((loss, outputs), gradients over all workers)."""
    with_grads = ms.value_and_grad(forward, None, ParameterTuple(weights), has_aux=True)

    def gradient(inputs: Tensor, labels: Tensor) -> tuple[Any, Any]:
        value, grads = with_grads(inputs, labels)
        return value, reduce(grads)

    return gradient


@dataclass(frozen=True)
class Step:
    """What a training step is made of; a method returns a changed copy (`dataclasses.replace`).

    Attributes:
        model: the network in training.
        forward: cell, batch -> (loss, outputs). Distillation puts its teacher in here.
        weights: what this phase trains. Freezing leaves some out: their gradients are not computed.
        gradient: (forward, weights, reduce) -> function of the batch. SAM and meta-learning
            replace it; `reduce` averages gradients over the workers.
        transforms: of each weight, what becomes of its decayed gradient before the momentum.
    """

    model: nn.Cell
    forward: nn.Cell
    weights: tuple[Parameter, ...]
    gradient: Callable[..., Callable[..., Any]] = plain_gradient
    transforms: tuple[Transform, ...] = ()


class TrainStep(nn.Cell):
    """Forward, gradients, clipping, update and moving average, compiled as one graph.

    Args:
        step: what to do.
        optimizer: shared by all phases.
        average: of the weights, or None.
        scale: loss scaling, or None.
        clip_norm: bound of the gradients' global norm, or None.
        world_size: gradients are averaged over the workers if there are several.
    """

    def __init__(
        self,
        step: Step,
        optimizer: OptimizerState,
        *,
        average: Average | None = None,
        scale: LossScale | None = None,
        clip_norm: float | None = None,
        world_size: int = 1,
    ) -> None:
        super().__init__(auto_prefix=False)
        weights = step.weights
        forward = step.forward if scale is None else scale.scaled(step.forward)
        reduce = _keep if world_size == 1 else nn.DistributedGradReducer(weights, True, world_size)
        self.model = step.model
        # `gradient` may be a function that closes over it: a kept graph (`graph_cache`) would get
        # no weights for what only it holds, such as a teacher
        self.forward = forward
        self.gradient = step.gradient(forward, weights, reduce)
        self.update = Update(optimizer, weights, step.transforms)
        self.scale, self.clip_norm = scale, clip_norm
        self.every = 0 if not average else average.every
        if average:
            # also of weights that rest in this phase: their average goes on towards them
            self.averaged = ParameterTuple(average.averaged)
            self.followed = ParameterTuple(average.own)
            self.kept = average.decay**average.every

    def construct(self, inputs: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return (loss, outputs, learning rate); the rate is negative if the step was skipped."""
        (loss, outputs), grads = self.gradient(inputs, labels)
        if self.scale is None:
            return loss, outputs, self._apply(grads)
        loss, grads, finite = self.scale.unscaled(loss, grads)
        rate = ms.Tensor(-1.0, ms.float32)
        if finite:
            rate = self._apply(grads)
        return loss, outputs, rate

    def _apply(self, grads: tuple[Tensor, ...]) -> Tensor:
        if self.clip_norm is not None:
            grads = clip_by_global_norm(grads, self.clip_norm)
        rate = self.update(grads)
        if self.every == 1 or (self.every > 1 and ops.equal(self.update.step % self.every, 0)):
            rate = self._follow(rate)
        return rate

    def _follow(self, rate: Tensor) -> Tensor:
        return ops.depend(
            rate, _each(ops.partial(_one_average, self.kept), self.averaged, self.followed)
        )


def clip_by_global_norm(grads: tuple[Tensor, ...], bound: float) -> tuple[Tensor, ...]:
    """Scale all gradients by min(1, bound / (their joint L2 norm + 1e-6)), as torch does."""
    norm = ops.sqrt(ops.AddN()(_each(_one_square_sum, grads)))
    factor = ops.minimum(ms.Tensor(1.0, ms.float32), bound / (norm + 1e-6))
    clipped: tuple[Tensor, ...] = _each(ops.partial(_one_scaled, factor), grads)
    return clipped


# of one weight: `HyperMap` unfolds them over all much faster than the compiler unfolds a loop

_each = ops.HyperMap()
_one_square_sum = ops.MultitypeFuncGraph("square_sum")
_one_scaled = ops.MultitypeFuncGraph("scaled")
_one_average = ops.MultitypeFuncGraph("average")


@_one_square_sum.register("Tensor")
def _square_sum(grad: Tensor) -> Tensor:
    return ops.ReduceSum()(ops.Square()(ops.Cast()(grad, ms.float32)), ())


@_one_scaled.register("Tensor", "Tensor")
def _scaled(factor: Tensor, grad: Tensor) -> Tensor:
    return ops.Mul()(grad, ops.Cast()(factor, grad.dtype))


@_one_average.register("Number", "Tensor", "Tensor")
def _average(kept: float, averaged: Tensor, followed: Tensor) -> Tensor:
    return ops.Assign()(averaged, kept * averaged + (1 - kept) * followed)


def _keep(grads: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return grads
