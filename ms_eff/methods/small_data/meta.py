"""Meta-learning as the training step of a plain classifier (arXiv:2309.03965, MAML 1703.03400)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import mindspore as ms
from mindspore import Parameter, ParameterTuple, Tensor, nn, ops

from ms_eff.methods.small_data.aside import Aside, move, statistics_of
from ms_eff.methods.small_data.settings import MetaLearningSettings
from ms_eff.train.scaling import Scaled

__all__ = ["PARTS", "MetaGradient", "deal"]

TASKS = 2
# support and query of each task
PARTS = 2 * TASKS
# how far a central difference goes, as a norm over all weights (as in DARTS, arXiv:1806.09055)
_REACH = 0.01

Grads = tuple[Tensor, ...]


class MetaGradient(nn.Cell):
    """The gradient of the query losses of copies that were adapted to their support samples.

    The batch is dealt into two tasks, each into a support and a query quarter, so that each has
    its share of every class. w_0 = w; w_j+1 = w_j - a dS(w_j)/dw; the loss is Q(w_k), summed over
    the tasks.

    First order takes dQ/dw at w_k. Second order multiplies it by (I - a H_j), j from k - 1 to 0,
    with H_j the Hessian of S at w_j. Its product with a vector is a central difference of two
    gradients, exact for quadratic losses: the CPU has no second derivative of max pooling.

    All passes over a task's support draw one dropout mask, so that S is one function; its query
    draws another. Running statistics move with the unadapted weights' passes only. A loss scale
    divides out of the adaptation. Each worker adapts to its own samples; `reduce` averages the
    result.

    Args:
        forward: (inputs, labels) -> (loss, outputs).
        weights: what the step trains.
        reduce: averages gradients over the workers.
        model: whose running statistics are kept.
        settings: see there.
    """

    def __init__(
        self,
        forward: nn.Cell,
        weights: Sequence[Parameter],
        reduce: Callable[..., Any],
        *,
        model: nn.Cell,
        settings: MetaLearningSettings,
    ) -> None:
        super().__init__(auto_prefix=False)
        self.weights = ParameterTuple(weights)
        self.with_grads = ms.value_and_grad(forward, None, self.weights, has_aux=True)
        self.reduce = reduce
        self.rate, self.steps = settings.inner_lr, settings.inner_steps
        self.second_order = settings.order == "second"
        self.is_scaled = isinstance(forward, Scaled)
        self.scale = forward.scale if isinstance(forward, Scaled) else 1.0
        self.shared = Aside(weights, "meta")
        # running statistics and counters of draws: before a task's first pass, and after it
        self.drawn = Aside(statistics_of(model), "meta_drawn")
        self.statistics = Aside(statistics_of(model), "meta")

    def construct(self, inputs: Tensor, labels: Tensor) -> tuple[Any, Grads]:
        """Return ((summed query loss, outputs), gradients).

        The outputs stand in the batch's order: of support samples those of the weights before
        adaptation, of query samples those after.
        """
        order = deal(labels)
        quarter = labels.shape[0] // PARTS
        total = ms.Tensor(0.0, ms.float32)
        grads: Grads = ()
        outputs: tuple[Tensor, ...] = ()
        self.shared()
        for task in range(TASKS):
            start = 2 * task * quarter
            support = order[start : start + quarter]
            query = order[start + quarter : start + 2 * quarter]
            (loss, seen), (_, adapted), new = self._task(
                inputs[support], labels[support], inputs[query], labels[query]
            )
            total = total + loss
            grads = new if task == 0 else _sum(grads, new, 1.0)
            outputs = (*outputs, seen, adapted)
        back = ops.argsort(order.astype(ms.float32))
        return (total, ops.concat(outputs)[back]), self.reduce(grads)

    def _task(self, x: Tensor, y: Tensor, query_x: Tensor, query_y: Tensor) -> tuple[Any, ...]:
        self.drawn()
        (_, seen), inner = self.with_grads(x, y)
        self.statistics()
        path: tuple[Grads, ...] = (inner,)  # gradients of the inner steps
        move(self.weights, inner, -self._inner_rate(), inner)
        for _ in range(self.steps - 1):
            self.drawn.put_back(inner)
            _, inner = self.with_grads(x, y)
            path = (*path, inner)
            move(self.weights, inner, -self._inner_rate(), inner)
        (loss, adapted), grads = self.with_grads(query_x, query_y)
        if self.second_order:
            grads = self._through(path, grads, x, y)
        self.shared.put_back(grads)
        self.statistics.put_back(grads)
        return (loss, seen), (loss, adapted), grads

    def _through(self, path: tuple[Grads, ...], grads: Grads, x: Tensor, y: Tensor) -> Grads:
        """Multiply by (I - a H_j) from the last inner step to the first."""
        for back in range(self.steps):
            self.shared.put_back(grads)
            for done in range(self.steps - 1 - back):
                move(self.weights, path[done], -self._inner_rate(), grads)
            reach = _REACH / (_norm(grads) + 1e-12)
            move(self.weights, grads, reach, grads)
            self.drawn.put_back(grads)
            _, ahead = self.with_grads(x, y)
            move(self.weights, grads, -2.0 * reach, ahead)
            self.drawn.put_back(ahead)
            _, behind = self.with_grads(x, y)
            curvature = _sum(ahead, behind, -1.0)
            grads = _sum(grads, curvature, -self._inner_rate() / (2.0 * reach))
        return grads

    def _inner_rate(self) -> Tensor | float:
        return self.rate / self.scale if self.is_scaled else self.rate


def deal(labels: Tensor) -> Tensor:
    """Return a (B,) order of the batch in which each quarter has its share of every class.

    Sorted by class, every fourth sample goes to the same quarter: the quarters' counts of a class
    differ by one at most. Which sample goes where follows from the order of the batch, which is
    shuffled anew in each epoch.

    Args:
        labels: (B,), B a multiple of four.

    >>> import numpy as np
    >>> labels = Tensor(np.array([1, 0, 0, 1, 0, 1, 1, 0], np.int32))
    >>> print(labels[deal(labels)])
    [0 1 0 1 0 1 0 1]
    """
    by_class = ops.argsort(labels.astype(ms.float32))
    return by_class.reshape(-1, PARTS).transpose(1, 0).reshape(-1)


def _sum(first: Grads, second: Grads, factor: Tensor | float) -> Grads:
    total: Grads = ()
    for i in range(len(first)):
        total = (*total, first[i] + factor * second[i])
    return total


def _norm(grads: Grads) -> Tensor:
    squares = ms.Tensor(0.0, ms.float32)
    for grad in grads:
        squares = squares + ops.reduce_sum(ops.square(grad.astype(ms.float32)))
    return ops.sqrt(squares)
