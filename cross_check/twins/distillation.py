"""Losses of distillation in torch, over a student and a resting teacher (arXiv:2110.08460)."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

__all__ = ["layers", "loss_cells", "taught"]


def taught(term: str, inputs: int, classes: int, value: float) -> nn.Module:
    """Return a student and a teacher of one layer each, with the loss of every sample."""
    return _Taught(term, inputs, classes, value)


def layers(layers: int, dims: list[int], width: int, form: str) -> nn.Module:
    """Return RAIL's distance; its input holds both networks' layers, one after the other."""
    return _Layers(layers, dims, width, form)


def loss_cells(
    inputs: int, classes: int, temperature: float, alpha: float, labels: list[int]
) -> nn.Module:
    """Return the mean softened divergence from a teacher, and the smoothed cross entropy."""
    return _Losses(inputs, classes, temperature, alpha, labels)


class _Losses(nn.Module):
    def __init__(
        self, inputs: int, classes: int, temperature: float, alpha: float, labels: list[int]
    ) -> None:
        super().__init__()
        self.student = nn.Linear(inputs, classes)
        self.teacher = nn.Linear(inputs, classes).requires_grad_(False)
        self.temperature, self.alpha = temperature, alpha
        self.register_buffer("labels", torch.tensor(labels), persistent=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        student, counts = self.student(x), self.labels >= 0
        divergence = functional.kl_div(
            functional.log_softmax(student[counts] / self.temperature, -1),
            functional.log_softmax(self.teacher(x[counts]) / self.temperature, -1),
            reduction="batchmean",
            log_target=True,
        )
        smoothed = functional.cross_entropy(student, self.labels, label_smoothing=self.alpha)
        return torch.stack((self.temperature**2 * divergence, smoothed))


class _Taught(nn.Module):
    def __init__(self, term: str, inputs: int, classes: int, value: float) -> None:
        super().__init__()
        self.term, self.value = term, value
        self.student = nn.Linear(inputs, classes)
        self.teacher = nn.Linear(inputs, classes).requires_grad_(False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        s, t, value = self.student(x), self.teacher(x).detach(), self.value
        if self.term == "divergence":
            wanted = functional.softmax(t / value, -1)
            logs = functional.log_softmax(s / value, -1)
            return value**2 * functional.kl_div(logs, wanted, reduction="none").sum(-1)
        if self.term == "squared error":
            return functional.mse_loss(s, value * t, reduction="none").mean(-1)
        return functional.cross_entropy(s, functional.softmax(t, -1), reduction="none")


class _Layers(nn.Module):
    def __init__(self, layers: int, dims: list[int], width: int, form: str) -> None:
        super().__init__()
        self.layers, self.form = layers, form
        self.distance = nn.Module()
        for name, dim in zip(("student", "teacher"), dims, strict=True):
            shape = (1, layers * dim) if form == "concatenated" else (layers, dim)
            weight = nn.Parameter(torch.empty(*shape, width))
            self.distance.register_parameter(name, weight)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        both = (x[:, : self.layers], x[:, self.layers :])
        names = ("student", "teacher")
        unit = []
        for states, name in zip(both, names, strict=True):
            weight = self.distance.get_parameter(name)
            if self.form == "concatenated":
                projected = states.flatten(1)[:, None] @ weight[0]
            else:
                projected = torch.einsum("bmd,mdw->bmw", states, weight)
            unit.append(functional.normalize(projected, dim=-1))
        return ((unit[0] - unit[1]) ** 2).sum((1, 2))
