"""What a user may ask of training on small data; imports no MindSpore."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from ms_eff.section import Section

__all__ = [
    "GhostBatchNormSettings",
    "GradientCentralizationSettings",
    "MetaLearningSettings",
    "PatchWhiteningSettings",
    "ProgressiveFreezingSettings",
    "ProgressiveResizingSettings",
    "SAMSettings",
]

Share = Annotated[float, Field(gt=0, lt=1)]


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
        layers: `conv`: convolutions only, a ViT's over patches among them; `all`: dense layers as
            well. Embeddings, positions and class tokens keep their gradients.
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


class MetaLearningSettings(Section):
    """Learn weights that adapt well from half a batch to the other half (arXiv:2309.03965).

    Attributes:
        order: `first` leaves second derivatives out; `second` takes them in, by differences.
        inner_steps: of gradient descent on the support samples.
        inner_lr: their learning rate.
    """

    order: Literal["first", "second"] = "first"
    inner_steps: int = Field(1, ge=1, le=5)
    inner_lr: float = Field(0.01, ge=0)


class GhostBatchNormSettings(Section):
    """Normalise each part of a batch by itself (arXiv:1705.08741).

    Attributes:
        splits: parts; divide the batch of a worker.
    """

    splits: int = Field(16, ge=1)


class ProgressiveFreezingSettings(Section):
    """Stop training early layers before the end, as airbench does (arXiv:2404.00498).

    Attributes:
        layers: name of a layer -> share of training after which it rests.
    """

    layers: dict[str, Share] = Field(min_length=1)


class ProgressiveResizingSettings(Section):
    """Train on smaller images first.

    Attributes:
        side: of the smaller images, in pixels.
        until: share of training after which images have their own size.
    """

    side: int = Field(24, ge=1)
    until: float = Field(0.5, gt=0, le=1)
