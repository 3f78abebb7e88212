"""Grouped attention as the trainer knows it."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, ClassVar

from mindspore import nn

from ms_eff.methods.base import Method, ModelContext
from ms_eff.methods.gqkva import surgery
from ms_eff.methods.gqkva.settings import GQKVASettings

__all__ = ["GQKVA"]


class GQKVA(Method):
    """Share projections between attention heads before training (arXiv:2311.03426).

    A trained network's projections are pooled; those of a new one are drawn for the shared shapes,
    as the paper trains from scratch. Settings: `GQKVASettings`.
    """

    settings: GQKVASettings

    name: ClassVar[str] = "gqkva"
    stage: ClassVar[str] = "grouped"

    def change_model(self, model: nn.Cell, context: ModelContext) -> nn.Cell:
        """Return the network with grouped attention; sets plan and report."""
        wishes = self.settings
        grouped, plan, report = surgery.convert_attention(
            model,
            wishes.kind,
            wishes.groups,
            include=wishes.include,
            fresh_seed=None if context.trained else self.seed,
        )
        self.plan = plan.to_json()
        self.report = {"kind": wishes.kind, "cells": [asdict(row) for row in report]}
        return grouped

    @classmethod
    def rebuild(cls, model: nn.Cell, plan: dict[str, Any]) -> nn.Cell:
        """Give a freshly built model the shapes of grouped attention."""
        return surgery.rebuild(model, plan)
