"""Layer truncation as the trainer knows it."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, ClassVar

from mindspore import nn

from ms_eff.errors import ConfigError, PlanError
from ms_eff.methods.base import Method, ModelContext
from ms_eff.methods.truncation import surgery
from ms_eff.methods.truncation.plan import TruncationPlan
from ms_eff.methods.truncation.settings import TruncationSettings

__all__ = ["Truncation"]


class Truncation(Method):
    """Keep some blocks of a deep network before training (arXiv:2110.08460).

    Settings: `TruncationSettings`.
    """

    settings: TruncationSettings

    name: ClassVar[str] = "truncation"
    stage: ClassVar[str] = "truncated"

    def check(self, model: nn.Cell, context: ModelContext) -> nn.Cell:
        """Return the shallower network, untrained.

        Raises:
            ConfigError: the rule has no answer for so many blocks.
            PlanError: there is no such list of blocks.
        """
        return self._cut(model)[0]

    def change_model(self, model: nn.Cell, context: ModelContext) -> nn.Cell:
        """Return the shallower network; sets plan and report."""
        student, plan, report = self._cut(model)
        self.plan = plan.to_json()
        kept = ", ".join(map(str, report.kept))
        self.report = {
            "rule": self.settings.rule if isinstance(self.settings.rule, str) else "list",
            **asdict(report),
            "kept": list(report.kept),
            "summary": f"blocks {kept} of {report.depth} stay",
        }
        return student

    def _cut(self, model: nn.Cell) -> tuple[nn.Cell, TruncationPlan, surgery.TruncationReport]:
        wishes = self.settings
        seed = self.seed if wishes.seed is None else wishes.seed
        try:
            return surgery.truncate_layers(
                model, wishes.keep, wishes.rule, seed=seed, blocks=wishes.blocks
            )
        except (ConfigError, PlanError) as error:  # they begin with the key
            raise type(error)(f"methods.{self.name}.{error}") from error

    @classmethod
    def rebuild(cls, model: nn.Cell, plan: dict[str, Any]) -> nn.Cell:
        """Give a freshly built model the blocks of a plan."""
        return surgery.rebuild(model, plan)
