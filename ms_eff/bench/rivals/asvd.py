"""ASVD's scaling of language models' matrices (arXiv:2312.05821); NumPy only."""

from __future__ import annotations

from typing import Any

import numpy as np

from ms_eff.methods.lowrank.criteria import damped_inputs
from ms_eff.methods.lowrank.roots import InputMoment
from ms_eff.methods.progressive.statistics import SavedMoments
from ms_eff.methods.progressive.truncate import Whitening

__all__ = ["ActivationScaling"]


class ActivationScaling(Whitening):
    """ASVD-like: a diagonal in place of the root of G.

    The truncated SVD of `W S`, with S undone: `S_i = mean(|x_i|)^alpha` in the paper. Two things
    differ. S_i here comes from the statistics that are there, the diagonal of G: the root mean
    square of an input channel in place of its mean magnitude. Where channels differ by their scale
    alone, the two are the same but for a factor, which the SVD does not see; a channel of rare
    large values weighs more by the root mean square. And ranks are those of the experiment, not of
    the paper's search.

    Args:
        moments: the statistics.
        alpha: 0.5 in the paper.
    """

    def __init__(self, moments: SavedMoments, alpha: float = 0.5) -> None:
        # budgets count its losses as those of the whitened rule
        super().__init__("activation", moments)
        self.saved, self.alpha = moments, alpha

    @property
    def made_from(self) -> dict[str, Any]:
        """The rule, and what its statistics were made from."""
        return {**super().made_from, "rule": "asvd", "alpha": self.alpha}

    def inputs(self, name: str) -> InputMoment:
        """Return S S, (C, C)."""
        squares = np.diag(damped_inputs(self.saved.inputs(name)))
        return InputMoment(np.diag(squares**self.alpha))
