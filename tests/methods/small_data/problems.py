"""Losses with known gradients, and a compiled step over them."""

from __future__ import annotations

import mindspore as ms
import numpy as np
from mindspore import Parameter, Tensor, nn

from ms_eff.methods.base import Method
from ms_eff.models.dropout import Dropout, Masks
from ms_eff.train.optim import OptimizerState
from ms_eff.train.schedule import learning_rates
from ms_eff.train.settings import TrainSettings
from ms_eff.train.step import Forward, Step, TrainStep

SGD = {"optimizer": "sgd", "lr": 1.0, "schedule": "constant", "weight_decay": 0.0}


class Quadratic(nn.Cell):
    """(inputs, labels) -> (mean over the batch of w^T H_i w / 2 with H_i = x_i H, x_i scalars).

    With `dropout`, a share of w is left out first, another one in each pass.
    """

    def __init__(self, hessian: np.ndarray, start: np.ndarray, dropout: float = 0.0) -> None:
        super().__init__(auto_prefix=False)
        self.hessian = Tensor(hessian)
        self.w = Parameter(Tensor(start), name="w")
        self.drop = Dropout(Masks(len(start), dropout, 0)) if dropout else None

    def construct(self, inputs: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        w = self.w
        if self.drop is not None:
            w = self.drop(w.reshape(1, -1)).reshape(-1)
        half = 0.5 * (w * ms.ops.matmul(self.hessian, w)).sum()
        return half * inputs.mean(), inputs


def definite(size: int = 4, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return a positive definite matrix and a point."""
    rng = np.random.default_rng(seed)
    root = rng.standard_normal((size, size))
    matrix = (root @ root.T / size + np.eye(size)).astype(np.float32)
    return matrix, rng.standard_normal(size).astype(np.float32)


def step_over(forward: nn.Cell, model: nn.Cell, *methods: Method, **settings) -> TrainStep:
    """Return the compiled step of some methods, SGD at learning rate 1 unless said otherwise."""
    chosen = TrainSettings(**{**SGD, **settings})
    step = Step(model, forward, tuple(model.trainable_params()))
    for method in methods:
        step = method.change_step(step, method.phase(0))
    state = OptimizerState(step.weights, chosen, learning_rates(chosen, 10, 0))
    return TrainStep(step, state)


def network_step(model: nn.Cell, *methods: Method, **settings) -> TrainStep:
    """Return the compiled step of a classifier."""
    step = step_over(Forward(model, nn.CrossEntropyLoss()), model, *methods, **settings)
    step.set_train(True)
    return step


def batch(size: int = 8, side: int = 8, channels: int = 1, classes: int = 3):
    """Return random images and labels, each class as often as the others within one."""
    rng = np.random.default_rng(5)
    images = rng.standard_normal((size, channels, side, side), dtype=np.float32)
    return Tensor(images), Tensor((np.arange(size) % classes).astype(np.int32))


class SlowGradient(nn.Cell):
    """Plain gradients of a classifier at given weights: a graph by itself, called pass by pass."""

    def __init__(self, model: nn.Cell) -> None:
        super().__init__(auto_prefix=False)
        forward = Forward(model, nn.CrossEntropyLoss())
        self.model = model
        self.names = [w.name for w in model.trainable_params()]
        weights = ms.ParameterTuple(model.trainable_params())
        self.gradient = ms.value_and_grad(forward, None, weights, has_aux=True)
        self.set_train(True)

    def construct(self, inputs: Tensor, labels: Tensor) -> tuple[Tensor, ...]:
        return self.gradient(inputs, labels)[1]

    def __call__(self, values, images: np.ndarray, labels: np.ndarray) -> dict[str, np.ndarray]:
        """Return the gradients by name."""
        for weight in self.model.trainable_params():
            weight.set_data(Tensor(values[weight.name]))
        grads = super().__call__(Tensor(images), Tensor(labels))
        return {name: g.asnumpy().copy() for name, g in zip(self.names, grads, strict=True)}


def moved(values, steps, factor: float) -> dict[str, np.ndarray]:
    """Return values + factor * steps, by the names of the steps."""
    return {name: (values[name] + factor * step).astype(np.float32) for name, step in steps.items()}
