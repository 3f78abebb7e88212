"""The methods for small data as the trainer knows them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

import mindspore as ms
import numpy as np
from mindspore import Parameter, Tensor, nn

from ms_eff.errors import PlanError
from ms_eff.methods.base import Method, ModelContext
from ms_eff.methods.small_data import whitening
from ms_eff.methods.small_data.centralization import centralize_all, centralize_convolutions
from ms_eff.methods.small_data.core import patch_moments, whitening_filters
from ms_eff.methods.small_data.sam import SharpGradient
from ms_eff.methods.small_data.settings import (
    GradientCentralizationSettings,
    PatchWhiteningSettings,
    SAMSettings,
)
from ms_eff.section import Section

if TYPE_CHECKING:
    from ms_eff.train.step import Step

__all__ = ["SAM", "GradientCentralization", "PatchWhitening"]


class SAM(Method):
    """Take the gradient at the worst point nearby (arXiv:2010.01412). Settings: `SAMSettings`."""

    settings: SAMSettings

    name: ClassVar[str] = "sam"
    conflicts: ClassVar[tuple[str, ...]] = ("meta_learning",)

    def __init__(self, settings: Section, seed: int = 0) -> None:
        super().__init__(settings, seed)
        self.counter = Parameter(Tensor(0, ms.int32), name="sam_steps", requires_grad=False)

    def change_step(self, step: Step, phase: str) -> Step:
        """Replace how gradients are made."""
        gradient = partial(
            SharpGradient, model=step.model, settings=self.settings, counter=self.counter
        )
        return replace(step, gradient=gradient)

    def state(self) -> dict[str, np.ndarray]:
        """Return the step counter."""
        return {"steps": self.counter.asnumpy()}

    def load_state(self, state: dict[str, np.ndarray]) -> None:
        """Take it back."""
        self.counter.set_data(Tensor(state["steps"]))


class GradientCentralization(Method):
    """Take each filter's mean out of its gradient (arXiv:2004.01461).

    With SAM it acts on the gradient that the optimiser gets (ours).
    Settings: `GradientCentralizationSettings`.
    """

    settings: GradientCentralizationSettings

    name: ClassVar[str] = "gradient_centralization"

    def change_step(self, step: Step, phase: str) -> Step:
        """Add a transform between weight decay and momentum."""
        transform = centralize_all if self.settings.layers == "all" else centralize_convolutions
        return replace(step, transforms=(*step.transforms, transform))


class PatchWhitening(Method):
    """Begin the network with filters made from the training images (arXiv:2309.03965).

    Settings: `PatchWhiteningSettings`.
    """

    settings: PatchWhiteningSettings

    name: ClassVar[str] = "patch_whitening"
    stage: ClassVar[str] = "whitened"

    def change_model(self, model: nn.Cell, context: ModelContext) -> nn.Cell:
        """Return the network with the filters in it; sets plan and report.

        Raises:
            PlanError: it begins with no convolution over patches, or there are no images.
        """
        if context.calibration is None:
            raise PlanError("methods.patch_whitening: needs training images; give calibration")
        wishes, channels = self.settings, context.input_shape[1]
        layer = whitening.first_convolution(model, channels, wishes.layer)
        images = _first(context.calibration(), wishes.images)
        moments, patches = patch_moments(images, wishes.patch)
        filters, values = whitening_filters(
            moments, channels, wishes.patch, wishes.eps, wishes.both_signs
        )
        self.plan = {"layer": layer, "filters": list(filters.shape)}
        self.report = {**self.plan, "patches": patches, "eigenvalues": values.tolist()}
        return whitening.whitened(model, layer, filters, self.seed)

    @classmethod
    def rebuild(cls, model: nn.Cell, plan: dict[str, Any]) -> nn.Cell:
        """Give a freshly built model the cells of a plan; the filters are loaded afterwards."""
        return whitening.rebuild(model, plan)


def _first(batches: Iterator[tuple[np.ndarray, np.ndarray]], limit: int) -> Iterator[np.ndarray]:
    """Yield the images of the batches, no more than `limit` in all."""
    for images, _ in batches:
        yield images[:limit]
        limit -= len(images)
        if limit <= 0:
            return
