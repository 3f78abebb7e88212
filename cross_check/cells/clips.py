"""Networks for clips."""

from __future__ import annotations

from typing import Any

from mindspore import nn

from cross_check.cells.subject import Subject
from ms_eff.methods.spatiotemporal import apply_spatiotemporal
from ms_eff.models.eco_lite import EcoLite
from ms_eff.models.r3d import ResNet3d

__all__ = ["eco_lite", "in_five_axes", "inception_eco_lite", "r3d18"]


def eco_lite(variant: str, aligned: bool, **args: Any) -> Subject:
    """Return a small network for clips whose 3D convolutions are a variant's."""
    cell: nn.Cell = EcoLite("small", image_size=8, **args)
    return Subject(apply_spatiotemporal(cell, variant, aligned=aligned, fresh_seed=1)[0])


def inception_eco_lite(**args: Any) -> Subject:
    """Return a network for clips with the front of Inception and narrow stages."""
    return Subject(EcoLite("inception", **args))


def r3d18(variant: str = "conv3d", aligned: bool = False, **args: Any) -> Subject:
    """Return a residual network with one block a stage, its 3D convolutions a variant's."""
    cell: nn.Cell = ResNet3d((1, 1, 1, 1), image_size=8, **args)
    return Subject(apply_spatiotemporal(cell, variant, aligned=aligned, fresh_seed=1)[0])


def in_five_axes(variant: str, channels: list[int]) -> Subject:
    """Return 3D convolutions of a network that knows no folded clips, as a variant's."""
    first, second, third = channels
    cell = nn.SequentialCell(
        [
            nn.Conv3d(first, second, 3, pad_mode="pad", padding=1, has_bias=False),
            nn.BatchNorm3d(second),
            nn.ReLU(),
            nn.Conv3d(second, third, 3, 2, pad_mode="pad", padding=1, has_bias=False),
            nn.BatchNorm3d(third),
        ]
    )
    return Subject(apply_spatiotemporal(cell, variant, fresh_seed=1)[0])
