"""The methods for small data as the trainer knows them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

import mindspore as ms
import numpy as np
from mindspore import Parameter, Tensor, nn

from ms_eff.errors import PlanError
from ms_eff.methods.base import Method, ModelContext
from ms_eff.methods.small_data import ghost, whitening
from ms_eff.methods.small_data.centralization import centralize, centralized_weights
from ms_eff.methods.small_data.core import patch_moments, whitening_filters
from ms_eff.methods.small_data.meta import PARTS, MetaGradient
from ms_eff.methods.small_data.sam import SharpGradient
from ms_eff.methods.small_data.settings import (
    GhostBatchNormSettings,
    GradientCentralizationSettings,
    MetaLearningSettings,
    PatchWhiteningSettings,
    ProgressiveFreezingSettings,
    ProgressiveResizingSettings,
    SAMSettings,
)
from ms_eff.methods.small_data.stages import (
    Shrunk,
    require_layers,
    require_smaller,
    without_layers,
)
from ms_eff.section import Section

if TYPE_CHECKING:
    from ms_eff.train.step import Step

__all__ = [
    "SAM",
    "GhostBatchNorm",
    "GradientCentralization",
    "MetaLearning",
    "PatchWhitening",
    "ProgressiveFreezing",
    "ProgressiveResizing",
]


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

    def check(self, model: nn.Cell, context: ModelContext) -> nn.Cell:
        """Refuse a network without such layers.

        Raises:
            PlanError: it has none.
        """
        centralized_weights(model, self.settings.layers)
        return model

    def change_step(self, step: Step, phase: str) -> Step:
        """Add a transform between weight decay and momentum.

        Raises:
            PlanError: the network has no such layer.
        """
        names = centralized_weights(step.model, self.settings.layers)

        def transform(weight: Parameter) -> Callable[[Tensor], Tensor] | None:
            return centralize if weight.name in names else None

        return replace(step, transforms=(*step.transforms, transform))


class PatchWhitening(Method):
    """Begin the network with filters made from the training images (arXiv:2309.03965).

    Settings: `PatchWhiteningSettings`.
    """

    settings: PatchWhiteningSettings

    name: ClassVar[str] = "patch_whitening"
    stage: ClassVar[str] = "whitened"

    def check(self, model: nn.Cell, context: ModelContext) -> nn.Cell:
        """Refuse inputs and networks whose first convolution the filters cannot stand for.

        Raises:
            PlanError: the inputs are no images, or the network has no such convolution.
        """
        self._find_layer(model, context)
        return model

    def change_model(self, model: nn.Cell, context: ModelContext) -> nn.Cell:
        """Return the network with the filters in it; sets plan and report.

        Raises:
            PlanError: as for `check`, or there are no training images.
        """
        if context.calibration is None:
            raise PlanError("methods.patch_whitening: needs training images; give calibration")
        layer = self._find_layer(model, context)
        wishes, channels = self.settings, context.input_shape[1]
        images = _first(context.calibration(), wishes.images)
        moments, patches = patch_moments(images, wishes.patch)
        filters, values = whitening_filters(
            moments, channels, wishes.patch, wishes.eps, wishes.both_signs
        )
        self.plan = {"layer": layer, "filters": list(filters.shape)}
        self.report = {**self.plan, "patches": patches, "eigenvalues": values.tolist()}
        return whitening.whitened(model, layer, filters, self.seed)

    def _find_layer(self, model: nn.Cell, context: ModelContext) -> str:
        _require_images(self.name, context)
        wishes, channels = self.settings, context.input_shape[1]
        return whitening.first_convolution(model, channels, wishes.patch, wishes.layer)

    @classmethod
    def rebuild(cls, model: nn.Cell, plan: dict[str, Any]) -> nn.Cell:
        """Give a freshly built model the cells of a plan; the filters are loaded afterwards."""
        return whitening.rebuild(model, plan)


class MetaLearning(Method):
    """Train for how well the adapted copies do (arXiv:2309.03965, 1703.03400).

    Settings: `MetaLearningSettings`.
    """

    settings: MetaLearningSettings

    name: ClassVar[str] = "meta_learning"
    conflicts: ClassVar[tuple[str, ...]] = ("sam",)
    tasks: ClassVar[tuple[str, ...]] = ("classification",)
    # of three samples, a quarter would get nothing but filling, whose loss is NaN
    full_batches: ClassVar[bool] = True

    def parts(self) -> int:
        """Support and query of two tasks."""
        return PARTS

    def change_step(self, step: Step, phase: str) -> Step:
        """Replace how gradients are made."""
        gradient = partial(MetaGradient, model=step.model, settings=self.settings)
        return replace(step, gradient=gradient)


class GhostBatchNorm(Method):
    """Normalise parts of the batch (arXiv:1705.08741). Settings: `GhostBatchNormSettings`."""

    settings: GhostBatchNormSettings

    name: ClassVar[str] = "ghost_batch_norm"
    stage: ClassVar[str] = "ghost-normalised"

    def parts(self) -> int:
        """Those that are normalised by themselves."""
        return self.settings.splits

    def check(self, model: nn.Cell, context: ModelContext) -> nn.Cell:
        """Refuse a network without batch normalisations; raises PlanError."""
        ghost.require_norms(model)
        return model

    def change_model(self, model: nn.Cell, context: ModelContext) -> nn.Cell:
        """Return the network with other normalisations; sets plan and report.

        Raises:
            PlanError: it has none.
        """
        splits = self.settings.splits
        changed, names = ghost.apply_ghost_batch_norm(model, splits)
        self.plan = {"splits": splits}
        self.report = {"splits": splits, "layers": names}
        return changed

    @classmethod
    def rebuild(cls, model: nn.Cell, plan: dict[str, Any]) -> nn.Cell:
        """Give a freshly built model these normalisations."""
        return ghost.rebuild(model, plan)


class ProgressiveFreezing(Method):
    """Let early layers rest before the end (arXiv:2404.00498).

    Settings: `ProgressiveFreezingSettings`.
    """

    settings: ProgressiveFreezingSettings

    name: ClassVar[str] = "progressive_freezing"

    def check(self, model: nn.Cell, context: ModelContext) -> nn.Cell:
        """Refuse a wrong name; raises PlanError.

        Of a layer inside another the outer one is asked for: a method may yet make it (factors).
        """
        outer = [name.split(".")[0] for name in self.settings.layers]
        require_layers(model.trainable_params(), outer)
        return model

    def phase(self, epoch: int) -> str:
        """Name the layers that rest in that epoch."""
        layers = self.settings.layers.items()
        return ",".join(name for name, share in layers if epoch >= share * self.epochs)

    def change_step(self, step: Step, phase: str) -> Step:
        """Leave them out of what the step trains.

        Raises:
            PlanError: there is no such layer.
        """
        without_layers(step.weights, list(self.settings.layers))  # a wrong name shows at once
        resting = phase.split(",") if phase else []
        return replace(step, weights=without_layers(step.weights, resting))


class ProgressiveResizing(Method):
    """Train on smaller images first. Settings: `ProgressiveResizingSettings`."""

    settings: ProgressiveResizingSettings

    name: ClassVar[str] = "progressive_resizing"
    tasks: ClassVar[tuple[str, ...]] = ("classification",)

    def changes_loss(self) -> bool:
        """Tell whether it puts another forward into the step: with smaller images before it."""
        return True

    def check(self, model: nn.Cell, context: ModelContext) -> nn.Cell:
        """Refuse inputs that are no images, or no larger, and networks of one size.

        Raises:
            PlanError: any of that.
        """
        _require_images(self.name, context)
        require_smaller(model, context.input_shape[1:], self.settings.side)
        return model

    def phase(self, epoch: int) -> str:
        """Tell small images from those of their own size."""
        return "small" if epoch < self.settings.until * self.epochs else ""

    def change_step(self, step: Step, phase: str) -> Step:
        """Shrink what the forward sees.

        Raises:
            PlanError: another network in it, such as a teacher, takes no other size.
        """
        if phase != "small":
            return step
        for _, cell in step.forward.cells_and_names():
            if hasattr(cell, "image_size"):
                raise PlanError(
                    f"methods.progressive_resizing: a {type(cell).__name__} beside the network "
                    "takes images of one size; use a teacher of free sizes, or drop one"
                )
        return replace(step, forward=Shrunk(step.forward, self.settings.side))


def _require_images(method: str, context: ModelContext) -> None:
    """Raise PlanError unless the inputs are images."""
    shape = context.input_shape
    if len(shape) != 4:
        kind = {2: "texts ", 5: "clips "}.get(len(shape), "")
        raise PlanError(
            f"methods.{method}: is for images (B, C, H, W), and these data are {kind}{shape}; "
            "leave it out"
        )


def _first(batches: Iterator[tuple[np.ndarray, np.ndarray]], limit: int) -> Iterator[np.ndarray]:
    """Yield the images of the batches, no more than `limit` in all."""
    for images, _ in batches:
        yield images[:limit]
        limit -= len(images)
        if limit <= 0:
            return
