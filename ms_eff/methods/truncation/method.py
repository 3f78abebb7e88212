"""Layer truncation as the trainer knows it."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, ClassVar

from mindspore import nn

from ms_eff.methods.base import Method, ModelContext
from ms_eff.methods.truncation import surgery
from ms_eff.methods.truncation.settings import TruncationSettings

__all__ = ["Truncation"]


class Truncation(Method):
    """Keep some blocks of a deep network before training (arXiv:2110.08460).

    Settings: `TruncationSettings`.
    """

    settings: TruncationSettings

    name: ClassVar[str] = "truncation"
    stage: ClassVar[str] = "truncated"

    def change_model(self, model: nn.Cell, context: ModelContext) -> nn.Cell:
        """Return the shallower network; sets plan and report."""
        wishes = self.settings
        student, plan, report = surgery.truncate_layers(
            model,
            wishes.keep,
            wishes.rule,
            seed=self.seed if wishes.seed is None else wishes.seed,
            blocks=wishes.blocks,
        )
        self.plan = plan.to_json()
        rule = wishes.rule if isinstance(wishes.rule, str) else "list"
        self.report = {"rule": rule, **asdict(report), "kept": list(report.kept)}
        return student

    @classmethod
    def rebuild(cls, model: nn.Cell, plan: dict[str, Any]) -> nn.Cell:
        """Give a freshly built model the blocks of a plan."""
        return surgery.rebuild(model, plan)
