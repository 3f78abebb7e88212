"""The low-rank method as the trainer knows it."""

from __future__ import annotations

from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING, Any, ClassVar, Literal, cast

import mindspore as ms
from mindspore import nn

from ms_eff.errors import PlanError
from ms_eff.methods.base import Method, ModelContext
from ms_eff.methods.lowrank import surgery
from ms_eff.methods.lowrank.freezing import frozen_set, trained_weights
from ms_eff.methods.lowrank.layer_timers import layer_timer
from ms_eff.methods.lowrank.layers import find_layers
from ms_eff.methods.lowrank.merging import merge_bottlenecks
from ms_eff.methods.lowrank.plan import LowRankPlan
from ms_eff.methods.lowrank.planner import excluded
from ms_eff.methods.lowrank.rebuilding import rebuild
from ms_eff.methods.lowrank.reports import LayerReport
from ms_eff.methods.lowrank.settings import LowRankSettings, timed_precision

if TYPE_CHECKING:
    from ms_eff.train.step import Step

__all__ = ["LowRank"]

# batches that a merged network's statistics are measured on (ours)
_BATCHES = 16


class LowRank(Method):
    """Decompose the model before training, freeze factors during it (arXiv:2407.20266, 2309.03824).

    Settings: `LowRankSettings`.
    """

    settings: LowRankSettings

    name: ClassVar[str] = "lowrank"
    stage: ClassVar[str] = "decomposed"

    def check(self, model: nn.Cell, context: ModelContext) -> nn.Cell:
        """Read the plan or the latency profile that the settings name.

        Raises:
            PlanError: it is missing, damaged, or of other conditions.
        """
        search = self.settings.rank_search
        if self.settings.plan is not None:
            LowRankPlan.load(self.settings.plan)
        elif search is not None and search.recorded:
            half = timed_precision(self.settings, context.precision) != "O0"
            layer_timer(search, context.input_shape, "float16" if half else "float32")
        return model

    def change_model(self, model: nn.Cell, context: ModelContext) -> nn.Cell:
        """Return the decomposed network; sets plan and report.

        Raises:
            PlanError: no layer would be decomposed, so that the run would train the dense network.
        """
        path = self.settings.plan
        saved = LowRankPlan.load(path) if path is not None else None
        if self.settings.merge is not None or (saved is not None and saved.merges):
            return self._merge(model, context, saved)
        done = surgery.decompose(
            model,
            self.settings,
            input_shape=context.input_shape,
            input_dtype=getattr(model, "input_dtype", ms.float32),
            calibration=context.calibration() if context.calibration is not None else None,
            loss=context.loss,
            precision=timed_precision(self.settings, context.precision),
        )
        if not done.plan.layers:
            # what was left out by name or kind says nothing about the ranks
            asked = {x.name for x in find_layers(model) if not excluded(x, self.settings)}
            first = next(row for row in done.report if row.layer in asked)
            raise PlanError(
                f"methods.lowrank: none of {len(asked)} layers would be decomposed "
                f"('{first.layer}': {first.reason}); ask for other ranks"
            )
        self.plan = done.plan.to_json()
        self.report = _summary(done.report)
        if done.whole is not None:
            self.report["network"] = done.whole.to_json()
        return done.network

    def _merge(self, model: nn.Cell, context: ModelContext, saved: LowRankPlan | None) -> nn.Cell:
        wishes, batches = self.settings, None
        if context.calibration is not None:
            batches = (images for images, _ in islice(context.calibration(), _BATCHES))
        given: dict[str, Any] = {}
        if saved is None:  # what a plan says is final
            given = {
                "share": wishes.merge,
                "branches": wishes.branches,
                "divisor": wishes.divisor,
                "bias": wishes.merge_bias,
                "include": wishes.include,
            }
            # the default leaves out layers that are no blocks
            given |= {"exclude": wishes.exclude} if "exclude" in wishes.model_fields_set else {}
        merged, plan, report = merge_bottlenecks(
            model, saved, calibration=batches, input_shape=context.input_shape, **given
        )
        self.plan = plan.to_json()
        self.report = _summary(report)
        return merged

    @classmethod
    def rebuild(cls, model: nn.Cell, plan: dict[str, Any]) -> nn.Cell:
        """Give a freshly built model the factors' shapes; their weights are loaded afterwards."""
        return rebuild(model, plan)

    def phase(self, epoch: int) -> str:
        """Name the set that rests in that epoch; the same after a resume."""
        return frozen_set(self.settings.freeze, epoch) if self.settings.freeze else ""

    def change_step(self, step: Step, phase: str) -> Step:
        """Leave the resting factors out of what the step trains.

        Raises:
            PlanError: there are none.
        """
        if not phase:
            return step
        which = cast(Literal["outer", "inner"], phase)
        return replace(step, weights=trained_weights(step.model, step.weights, which))


def _summary(report: list[LayerReport]) -> dict[str, Any]:
    decomposed = sum(row.decomposed for row in report)
    return {
        "decomposed": decomposed,
        "skipped": len(report) - decomposed,
        "layers": [row.to_json() for row in report],
    }
