"""Distillation and what does without a teacher: seven ways to train a small network.

Paper: arXiv:2110.08460, which compares them; each has its own source.
"""

from __future__ import annotations

import importlib
from typing import Any

_HOME = {
    "Distillation": "method",
    "DistillationSettings": "settings",
    "GeneratorSettings": "settings",
    "Teacher": "teacher",
    "annealing_factor": "core",
    "draw_layers": "core",
    "equivalent_smoothing": "core",
    "find_teacher": "teacher",
}

__all__ = list(_HOME)


def __getattr__(name: str) -> Any:
    # lazily, since settings and arithmetic need no MindSpore
    if name not in _HOME:
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
