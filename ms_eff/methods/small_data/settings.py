"""What a user may ask of training on small data; imports no MindSpore."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from ms_eff.section import Section

__all__ = ["GradientCentralizationSettings", "PatchWhiteningSettings", "SAMSettings"]


class SAMSettings(Section):
    """Sharpness-aware minimisation: the gradient at the worst point nearby (arXiv:2010.01412).

    Attributes:
        rho: how far away, as an L2 norm over all weights; 0 is the plain step.
        every: only in each step of that number, counted from the first; the others are plain.
        adaptive: measure distance in units of each weight's size (ASAM, arXiv:2102.11600), where
            rho is some ten times larger.
    """

    rho: float = Field(0.05, ge=0)
    every: int = Field(1, ge=1)
    adaptive: bool = False


class GradientCentralizationSettings(Section):
    """Take each filter's mean out of its gradient, before the momentum (arXiv:2004.01461).

    Attributes:
        layers: `conv`: convolutions only; `all`: every weight of two axes or more, embeddings too.
    """

    layers: Literal["conv", "all"] = "conv"


class PatchWhiteningSettings(Section):
    """Begin with fixed filters that whiten image patches (arXiv:2309.03965).

    They and a trainable 1x1 convolution take the place of the network's first convolution.

    Attributes:
        layer: name of the convolution to replace; null: the first that sees the images.
        patch: side of a patch in pixels.
        both_signs: give each filter's negative as well (airbench, arXiv:2404.00498, has patches of
            2 with both signs).
        eps: added to each eigenvalue, which bounds what noise is multiplied by.
        images: how many training images the filters are made from, at most.
    """

    layer: str | None = None
    patch: Literal[2, 3] = 3
    both_signs: bool = False
    eps: float = Field(1e-2, gt=0)
    images: int = Field(10_000, ge=1)
