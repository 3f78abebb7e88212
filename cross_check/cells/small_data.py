"""Normalisation, whitening, smaller images and weighted samples."""

from __future__ import annotations

from typing import Any

import numpy as np
from mindspore import Tensor, nn

from cross_check.cells import vision
from cross_check.cells.subject import Subject, draw
from ms_eff.methods.small_data.ghost import apply_ghost_batch_norm
from ms_eff.methods.small_data.stages import Shrunk
from ms_eff.methods.small_data.whitening import whitened
from ms_eff.methods.swiftlearn.cells import ScaledGradient

__all__ = ["ghost_resnet9", "shrunk", "weighted", "whitened_resnet9"]


def ghost_resnet9(splits: int, **args: Any) -> Subject:
    """Return a ResNet-9 whose normalisations look at parts of the batch."""
    return Subject(apply_ghost_batch_norm(vision.resnet9(**args).cell, splits)[0])


def whitened_resnet9(filters: list[int], **args: Any) -> Subject:
    """Return a ResNet-9 that begins with resting filters of this shape; any will do here."""
    values = np.random.default_rng(6).standard_normal(filters) / np.sqrt(np.prod(filters[1:]))
    return Subject(whitened(vision.resnet9(**args).cell, "prep.conv", values.astype(np.float32)))


class _Labelled(nn.Cell):
    """A forward as the trainer has it; the labels are the loss."""

    def __init__(self, model: nn.Cell) -> None:
        super().__init__(auto_prefix=False)
        self.model = model

    def construct(self, inputs: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        return labels.sum(), self.model(inputs)


class _Outputs(nn.Cell):
    def __init__(self, channels: int, side: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, channels, 3, pad_mode="pad", padding=1, has_bias=True)
        self.smaller = Shrunk(_Labelled(self.conv), side)
        self.labels = Tensor(np.zeros(1, np.float32))

    def construct(self, x: Tensor) -> Tensor:
        return self.smaller(x, self.labels)[1]


def shrunk(channels: int, side: int) -> Subject:
    """Return a convolution that sees its images smaller."""
    cell = _Outputs(channels, side)
    draw(cell)
    return Subject(cell)


class _Weighted(nn.Cell):
    def __init__(self, inputs: int, outputs: int, weights: list[float]) -> None:
        super().__init__()
        self.dense = nn.Dense(inputs, outputs)
        self.scaled = ScaledGradient()
        self.weights = Tensor(np.array(weights, np.float32))

    def construct(self, x: Tensor) -> Tensor:
        return self.scaled(self.dense(x), self.weights)


def weighted(**args: Any) -> Subject:
    """Return a dense layer whose samples count differently in the gradient."""
    cell = _Weighted(**args)
    draw(cell)
    return Subject(cell)
