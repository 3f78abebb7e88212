"""A model with some of its matrices multiplied out of factors on disk, to measure it once more.

A truncation changes what later layers are fed and how the loss answers. Statistics of the truncated
model know that; the parent's own matrices are then truncated anew by them.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

import numpy as np

from ms_eff.methods.progressive.identity import json_digest, model_digest
from ms_eff.methods.progressive.truncate import Decomposed
from ms_eff.models.parents import Shape

__all__ = ["Compressed", "Model"]


class Model(Protocol):
    """A language model whose arrays are read one by one."""

    @property
    def path(self) -> Path:
        """Where it is, or what it is called."""

    @property
    def shape(self) -> Shape:
        """What it is built from."""

    def array(self, name: str) -> np.ndarray:
        """Return one array in float32."""


class Compressed:
    """A model with the products of factors in the place of its matrices; nothing is held.

    Args:
        model: what was decomposed.
        factors: of its matrices.
        ranks: by layer; matrices of None are the model's own.
        name: what to call it where its statistics are kept.
    """

    def __init__(
        self, model: Model, factors: Decomposed, ranks: Mapping[str, int | None], name: str
    ) -> None:
        self.model, self.factors, self.ranks = model, factors, ranks
        self.path: Path = Path(name)
        self.shape: Shape = model.shape

    def array(self, name: str) -> np.ndarray:
        """Return one array in float32: (S, C) where it is a matrix of the blocks."""
        layer, _, part = name.rpartition(".")
        rank = self.ranks.get(layer)
        if part != "weight" or rank is None:
            return self.model.array(name)
        first, last = self.factors.pair(layer, rank)
        return last @ first

    def digest(self) -> str:
        """Return what tells it from other models: what it was made from, and how."""
        made_from = {
            "model": model_digest(self.model),
            "factors": self.factors.made_from,
            "ranks": dict(self.ranks),
        }
        return json_digest(made_from)
