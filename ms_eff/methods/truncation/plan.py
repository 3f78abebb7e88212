"""Which blocks stay. JSON to and fro; imports no MindSpore."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ms_eff.errors import ConfigError, PlanError
from ms_eff.methods.truncation.core import chosen_blocks

__all__ = ["FORMAT", "TruncationPlan"]

FORMAT = "ms_eff.truncation/1"


@dataclass(frozen=True)
class TruncationPlan:
    """The blocks of one list that stay.

    Attributes:
        blocks: the list's name in the network.
        depth: blocks it had.
        kept: those that stay, rising from 0.
    """

    blocks: str
    depth: int
    kept: tuple[int, ...]

    def to_json(self) -> dict[str, Any]:
        """Return JSON-able values."""
        return {
            "format": FORMAT,
            "blocks": self.blocks,
            "depth": self.depth,
            "kept": list(self.kept),
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> TruncationPlan:
        """Return the plan that `to_json` wrote.

        Raises:
            PlanError: it is none, or its blocks are not those of such a list.
        """
        if values.get("format") != FORMAT:
            raise PlanError(f"plan: format = {values.get('format')!r}: expected '{FORMAT}'")
        try:
            plan = cls(str(values["blocks"]), int(values["depth"]), tuple(values["kept"]))
            chosen_blocks(plan.depth, None, plan.kept)
        except (KeyError, TypeError, ValueError, ConfigError) as error:
            raise PlanError(f"plan: blocks, depth and kept are expected ({error})") from error
        return plan
