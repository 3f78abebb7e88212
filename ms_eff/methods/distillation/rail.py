"""RAIL-KD: layers of the teacher drawn at random, beside the student's (arXiv:2109.10164)."""

from __future__ import annotations

from typing import Literal

import mindspore as ms
import numpy as np
from mindspore import Parameter, Tensor, nn, ops

from ms_eff.methods.distillation.cells import TaughtForward
from ms_eff.methods.distillation.losses import averaged, counted_samples, token_mask, unit_rows
from ms_eff.methods.distillation.teacher import Teacher
from ms_eff.train.step import Forward

__all__ = ["LayerDistance", "RailForward", "pooled_layers"]

Form = Literal["layerwise", "concatenated"]


def pooled_layers(hidden: tuple[Tensor, ...], tokens: Tensor) -> Tensor:
    """Return (layers, B, D): each layer's mean over the tokens that are no padding.

    Args:
        hidden: (B, T, D) of each layer.
        tokens: (B, T) ones, and zeros for padding.
    """
    wide = ops.reshape(tokens, (-1, tokens.shape[1], 1))
    count = ops.maximum(wide.sum(1), 1.0)
    layers: tuple[Tensor, ...] = ()
    for states in hidden:
        layers = (*layers, (states.astype(ms.float32) * wide).sum(1) / count)
    return ops.stack(layers, 0)


class LayerDistance(nn.Cell):
    """The squared distance of two sets of layers, projected to a common width, at length 1.

    The projections have no bias, so that only the direction of a layer counts.

    Args:
        layers: m, in each set.
        dims: width of the student's layers, and of the teacher's.
        width: common width.
        form: `layerwise`: a projection and a distance a layer, summed; `concatenated`: one of all.
        seed: of the initial projections.
    """

    def __init__(
        self, layers: int, dims: tuple[int, int], width: int, form: Form, seed: int
    ) -> None:
        super().__init__()
        rng = np.random.default_rng(seed)
        self.concatenated = form == "concatenated"
        self.student = _projection(rng, "student", layers, dims[0], width, form)
        self.teacher = _projection(rng, "teacher", layers, dims[1], width, form)
        self.matmul = ops.BatchMatMul()

    def construct(self, student: Tensor, teacher: Tensor) -> Tensor:
        """Return (B,) distances of pooled layers (m, B, D), a D for each."""
        gap = self._projected(student, self.student) - self._projected(teacher, self.teacher)
        return (gap * gap).sum(-1).sum(0)

    def _projected(self, x: Tensor, weight: Parameter) -> Tensor:
        if self.concatenated:
            x = ops.reshape(ops.transpose(x, (1, 0, 2)), (1, x.shape[1], -1))
        return unit_rows(self.matmul(x, weight))


def _projection(
    rng: np.random.Generator, whose: str, layers: int, dim: int, width: int, form: Form
) -> Parameter:
    shape = (1, layers * dim, width) if form == "concatenated" else (layers, dim, width)
    values = rng.standard_normal(shape, dtype=np.float32) / np.float32(np.sqrt(shape[1]))
    return Parameter(Tensor(values), name=f"distillation.{whose}")


class RailForward(TaughtForward):
    """w1 loss(labels) + w2 T^2 KL + w3 the distance of the layers.

    Args:
        forward: whose network is the student, and the loss on the labels.
        teacher: of the same outputs.
        weights: w1, w2, w3.
        temperature: T.
        distance: of m layers.
        drawn: (m,) int32, which of the teacher's layers take part, ascending.
    """

    def __init__(
        self,
        forward: Forward,
        teacher: Teacher,
        weights: tuple[float, float, float],
        temperature: float,
        *,
        distance: LayerDistance,
        drawn: Parameter,
    ) -> None:
        super().__init__(forward, teacher, weights[:2], temperature)
        self.of_layers = weights[2]
        self.distance, self.drawn = distance, drawn

    def construct(self, inputs: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Return the scalar float32 loss and the student's outputs."""
        outputs, own = self.model.with_hidden(inputs)
        taught, theirs = self.teacher.with_hidden(inputs)
        loss = self._both(outputs, ops.stop_gradient(taught), labels)
        tokens = token_mask(inputs)
        # all are pooled, few are gathered: which ones may change without another graph
        layers = ops.gather(ops.stop_gradient(pooled_layers(theirs, tokens)), self.drawn, 0)
        gaps = self.distance(pooled_layers(own, tokens), layers)
        return loss + self.of_layers * averaged(gaps, counted_samples(labels)), outputs
