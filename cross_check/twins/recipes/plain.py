"""Plain training: an optimiser, a schedule, clipping, averaged weights."""

from __future__ import annotations

from cross_check.twins.recipes import loop
from cross_check.twins.recipes.given import Given, Trained

__all__ = ["train"]


def train(given: Given) -> Trained:
    """Train a classifier."""
    return loop.train(given, given.network())
