"""Forwards of a student with its teacher beside it: one graph, no gradient into the teacher."""

from __future__ import annotations

import mindspore as ms
from mindspore import Parameter, Tensor, ops

from ms_eff.methods.distillation.losses import (
    SoftenedLoss,
    averaged,
    cosine_distance,
    counted,
    counted_samples,
    judged_rows,
    squared_error,
    token_mask,
)
from ms_eff.methods.distillation.teacher import Teacher
from ms_eff.train.step import Forward

__all__ = ["AnnealedForward", "CosineForward", "TaughtForward"]


class TaughtForward(Forward):
    """w1 loss(labels) + w2 T^2 KL(teacher || student) (arXiv:1503.02531).

    Args:
        forward: whose network is the student and whose loss is that on the labels.
        teacher: of the same outputs.
        weights: w1, w2.
        temperature: T.
    """

    def __init__(
        self, forward: Forward, teacher: Teacher, weights: tuple[float, float], temperature: float
    ) -> None:
        super().__init__(forward.model, forward.loss)
        self.teacher = teacher
        self.of_labels, self.of_teacher = weights
        self.softened = SoftenedLoss(temperature)

    def construct(self, inputs: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Return the scalar float32 loss and the student's outputs."""
        outputs = self.model(inputs)
        taught = ops.stop_gradient(self.teacher(inputs))
        return self._both(outputs, taught, labels), outputs

    def _both(self, outputs: Tensor, taught: Tensor, labels: Tensor) -> Tensor:
        loss = self.of_labels * self.loss(outputs.astype(ms.float32), labels)
        return loss + self.of_teacher * self.softened(outputs, taught, labels)


class CosineForward(TaughtForward):
    """The same plus w3 (1 - cos) of the last hidden states, over all tokens, as for DistilGPT2.

    Args:
        forward: as above; the network offers `with_hidden`.
        teacher: of the student's width.
        weights: w1, w2, w3.
        temperature: T.
    """

    def __init__(
        self,
        forward: Forward,
        teacher: Teacher,
        weights: tuple[float, float, float],
        temperature: float,
    ) -> None:
        super().__init__(forward, teacher, weights[:2], temperature)
        self.of_hidden = weights[2]

    def construct(self, inputs: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Return the scalar float32 loss and the student's outputs."""
        outputs, own = self.model.with_hidden(inputs)
        taught, theirs = self.teacher.with_hidden(inputs)
        loss = self._both(outputs, ops.stop_gradient(taught), labels)
        gaps = cosine_distance(
            own[-1].astype(ms.float32), ops.stop_gradient(theirs[-1]).astype(ms.float32)
        )
        tokens = token_mask(inputs) * ops.reshape(counted_samples(labels), (-1, 1))
        mean = averaged(ops.reshape(gaps, (-1,)), ops.reshape(tokens, (-1,)))
        return loss + self.of_hidden * mean, outputs


class AnnealedForward(Forward):
    """MSE(z_s, phi z_t): the first phase of annealing (arXiv:2104.07163, equation 4).

    Args:
        forward: whose network is the student; its loss is not used.
        teacher: of the same outputs.
        factor: phi, which changes from epoch to epoch.
    """

    def __init__(self, forward: Forward, teacher: Teacher, factor: Parameter) -> None:
        super().__init__(forward.model, forward.loss)
        self.teacher = teacher
        self.factor = factor

    def construct(self, inputs: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Return the scalar float32 loss and the student's outputs."""
        outputs = self.model(inputs)
        taught = judged_rows(ops.stop_gradient(self.teacher(inputs)))
        errors = squared_error(judged_rows(outputs), taught, self.factor)
        return averaged(errors, counted(labels)), outputs
