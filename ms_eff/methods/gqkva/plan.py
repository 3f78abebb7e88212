"""Which attention cells are grouped, and how. JSON to and fro; imports no MindSpore."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ms_eff.errors import ConfigError, PlanError
from ms_eff.models.heads import Groups, check_groups

__all__ = ["FORMAT", "GroupPlan", "GroupReport"]

FORMAT = "ms_eff.gqkva/1"


@dataclass(frozen=True)
class GroupPlan:
    """One kind of attention for the cells named.

    Attributes:
        kind: see `ms_eff.models.heads.head_layout`.
        groups: likewise.
        cells: names of the attention cells in the network.
    """

    kind: str
    groups: Groups
    cells: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Return JSON-able values."""
        groups = list(self.groups) if isinstance(self.groups, tuple) else self.groups
        return {"format": FORMAT, "kind": self.kind, "groups": groups, "cells": list(self.cells)}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> GroupPlan:
        """Return the plan that `to_json` wrote.

        Raises:
            PlanError: it is none, or its groups do not fit its kind.
        """
        if values.get("format") != FORMAT:
            raise PlanError(f"plan: format = {values.get('format')!r}: expected '{FORMAT}'")
        try:
            kind, groups, cells = values["kind"], values["groups"], tuple(values["cells"])
            plan = cls(kind, tuple(groups) if isinstance(groups, list) else groups, cells)
            check_groups(plan.kind, plan.groups)
        except (KeyError, TypeError, ConfigError) as error:
            raise PlanError(f"plan: kind, groups and cells are expected ({error})") from error
        return plan


@dataclass(frozen=True)
class GroupReport:
    """What became of one attention cell.

    Attributes:
        cell: its name.
        heads: number of heads.
        queries: distinct query projections, #Q.
        keys: distinct key and value projections, #KV.
        params_before: of the qkv layer, bias included.
        params_after: likewise.
        error: relative Frobenius distance of the shared projections from those they stand for;
            None where they were drawn anew.
    """

    cell: str
    heads: int
    queries: int
    keys: int
    params_before: int
    params_after: int
    error: float | None
