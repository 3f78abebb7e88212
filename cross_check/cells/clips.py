"""Networks for clips."""

from __future__ import annotations

from typing import Any

from mindspore import nn

from cross_check.cells.subject import Subject
from ms_eff.methods.spatiotemporal import apply_spatiotemporal
from ms_eff.models.eco_lite import EcoLite
from ms_eff.models.r3d import ResNet3d

__all__ = ["eco_lite", "r3d18"]


def eco_lite(variant: str, aligned: bool, **args: Any) -> Subject:
    """Return a small network for clips whose 3D convolutions are a variant's."""
    cell: nn.Cell = EcoLite("small", image_size=8, **args)
    return Subject(apply_spatiotemporal(cell, variant, aligned=aligned, fresh_seed=1)[0])


def r3d18(**args: Any) -> Subject:
    """Return a plain residual network of 3D convolutions."""
    return Subject(ResNet3d((1, 1, 1, 1), image_size=8, **args))
