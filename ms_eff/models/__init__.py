"""The networks the library ships, by name, and their weights in and out."""

from __future__ import annotations

from ms_eff.models.registry import build, names
from ms_eff.models.weights import load_weights, save_weights

__all__ = ["build", "load_weights", "names", "save_weights"]
