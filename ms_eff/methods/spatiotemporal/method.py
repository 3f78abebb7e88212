"""4D convolutions as the trainer knows them."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, ClassVar

from mindspore import nn

from ms_eff.methods.base import Method, ModelContext
from ms_eff.methods.spatiotemporal import surgery
from ms_eff.methods.spatiotemporal.settings import SpatiotemporalSettings

__all__ = ["Spatiotemporal"]


class Spatiotemporal(Method):
    """Replace 3D convolutions by 2D ones before training (arXiv:2407.16514).

    A trained network's weights are taken over where that is possible; a new one's are drawn for the
    new shapes. Settings: `SpatiotemporalSettings`.
    """

    settings: SpatiotemporalSettings

    name: ClassVar[str] = "spatiotemporal"
    stage: ClassVar[str] = "folded"

    def change_model(self, model: nn.Cell, context: ModelContext) -> nn.Cell:
        """Return the network without 3D convolutions; sets plan and report."""
        changed, plan, report = surgery.apply_spatiotemporal(
            model,
            self.settings.variant,
            aligned=self.settings.aligned,
            input_shape=context.input_shape,
            fresh_seed=None if context.trained else self.seed,
        )
        self.plan = plan.to_json()
        self.report = {
            "variant": plan.variant,
            "aligned": plan.aligned,
            "layers": [asdict(row) for row in report],
        }
        return changed

    @classmethod
    def rebuild(cls, model: nn.Cell, plan: dict[str, Any]) -> nn.Cell:
        """Give a freshly built model the cells of a plan."""
        return surgery.rebuild(model, plan)
