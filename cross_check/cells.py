"""The MindSpore cells of the cases."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from mindspore import nn

from ms_eff.models.resnet import BasicBlock, Bottleneck, ResNet

__all__ = ["Subject", "resnet"]


@dataclass(frozen=True)
class Subject:
    """A cell under test.

    Attributes:
        cell: with finished weights.
        args: what the twin's builder must know besides the case's own (ranks).
        dense: the weights that were decomposed, by the twin's names.
    """

    cell: nn.Cell
    args: dict[str, Any] = field(default_factory=dict)
    dense: dict[str, np.ndarray] = field(default_factory=dict)


def resnet(
    block: str, layers: list[int], width: int, num_classes: int, stem: str = "imagenet"
) -> Subject:
    """Return a ResNet."""
    kind = BasicBlock if block == "basic" else Bottleneck
    cell = ResNet(kind, tuple(layers), width=width, num_classes=num_classes, stem=stem)
    return Subject(cell)
