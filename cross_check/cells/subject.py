"""A cell under test, and how its weights are made."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from mindspore import Tensor, nn

__all__ = ["Subject", "draw", "move_norms"]


@dataclass(frozen=True)
class Subject:
    """A cell under test.

    Attributes:
        cell: with finished weights.
        args: what the twin's builder must know besides the case's own (ranks).
        dense: the weights that were decomposed, by our names.
    """

    cell: nn.Cell
    args: dict[str, Any] = field(default_factory=dict)
    dense: dict[str, np.ndarray] = field(default_factory=dict)


def draw(cell: nn.Cell) -> None:
    """Draw matrices and kernels anew: MindSpore's initialisers follow a global seed."""
    rng = np.random.default_rng(3)
    for parameter in cell.get_parameters():
        if len(parameter.shape) > 1:
            fan_in = np.prod(parameter.shape[1:])
            values = rng.standard_normal(parameter.shape) / np.sqrt(fan_in)
            parameter.set_data(Tensor(values.astype(np.float32)))


def move_norms(cell: nn.Cell) -> None:
    """Make norms that are worth folding."""
    rng = np.random.default_rng(4)
    for parameter in cell.get_parameters():
        if len(parameter.shape) == 1:
            values = rng.uniform(0.5, 1.5, parameter.shape).astype(np.float32)
            parameter.set_data(Tensor(values))
