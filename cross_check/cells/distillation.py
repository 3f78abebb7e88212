"""Losses and distances of distillation."""

from __future__ import annotations

from typing import Any

from mindspore import Tensor, nn, ops

from cross_check.cells.subject import Subject, draw
from ms_eff.methods.distillation import losses
from ms_eff.methods.distillation.rail import Form, LayerDistance

__all__ = ["layers", "taught"]


class _Taught(nn.Cell):
    def __init__(self, term: str, inputs: int, classes: int, value: float) -> None:
        super().__init__()
        self.term, self.value = term, value
        self.student = nn.Dense(inputs, classes)
        self.teacher = nn.Dense(inputs, classes)
        for parameter in self.teacher.get_parameters():
            parameter.requires_grad = False

    def construct(self, x: Tensor) -> Tensor:
        student, teacher = self.student(x), ops.stop_gradient(self.teacher(x))
        if self.term == "divergence":
            return losses.divergence(student, teacher, self.value)
        if self.term == "squared error":
            return losses.squared_error(student, teacher, self.value)
        return losses.disagreement(student, teacher)


def taught(**args: Any) -> Subject:
    """Return a student and a resting teacher, with one of the losses of distillation."""
    cell = _Taught(**args)
    draw(cell)
    return Subject(cell)


class _Layers(nn.Cell):
    def __init__(self, layers: int, dims: list[int], width: int, form: Form) -> None:
        super().__init__()
        self.layers = layers
        self.distance = LayerDistance(layers, (dims[0], dims[1]), width, form, seed=0)
        for name, parameter in self.parameters_and_names():
            parameter.name = name

    def construct(self, x: Tensor) -> Tensor:
        x = ops.transpose(x, (1, 0, 2))
        return self.distance(x[: self.layers], x[self.layers :])


def layers(**args: Any) -> Subject:
    """Return RAIL's distance of the student's layers and the teacher's, stacked in one input."""
    return Subject(_Layers(**args))
