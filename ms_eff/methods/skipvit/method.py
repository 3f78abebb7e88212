"""Token skipping as the trainer knows it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

from mindspore import nn

from ms_eff.bench.counts import count, totals
from ms_eff.methods.base import Method, ModelContext
from ms_eff.methods.skipvit import surgery
from ms_eff.methods.skipvit.core import ideal_gain
from ms_eff.methods.skipvit.settings import SkipViTSettings

if TYPE_CHECKING:
    from ms_eff.train.step import Step

__all__ = ["SkipViT"]


class SkipViT(Method):
    """Let unimportant tokens skip blocks, after a warm-up without (arXiv:2401.15293).

    Settings: `SkipViTSettings`.
    """

    settings: SkipViTSettings

    name: ClassVar[str] = "skipvit"
    stage: ClassVar[str] = "routed"

    def change_model(self, model: nn.Cell, context: ModelContext) -> nn.Cell:
        """Return the network with its route; sets plan and report."""
        routed, route = surgery.apply_skipvit(model, self.settings, seed=self.seed)
        self.plan = route.to_json()
        reduced = route.merge_block - route.score_block - 1
        macs = totals(count(model, context.input_shape))["macs"]
        gain = ideal_gain(macs, reduced, route.patches + 1, route.dropped, model.dim)
        self.report = {**self.plan, "reduced_blocks": reduced, "ideal_gain": gain}
        return routed

    @classmethod
    def rebuild(cls, model: nn.Cell, plan: dict[str, Any]) -> nn.Cell:
        """Give a freshly built model the route of a plan."""
        return surgery.rebuild(model, plan)

    def phase(self, epoch: int) -> str:
        """Tell the warm-up from the rest; the same after a resume."""
        return "warm-up" if epoch < round(self.settings.warmup * self.epochs) else "routed"

    def change_step(self, step: Step, phase: str) -> Step:
        """Train the same weights without skipping while the warm-up lasts."""
        if phase == "warm-up":
            return replace(step, forward=surgery.without_skipping(step.forward, step.model))
        return step
