"""Layer truncation: a shallower network from some blocks of a deep one.

Paper: arXiv:2110.08460.
"""

from __future__ import annotations

import importlib
from typing import Any

_HOME = {
    "RULES": "core",
    "Truncation": "method",
    "TruncationPlan": "plan",
    "TruncationSettings": "settings",
    "chosen_blocks": "core",
    "rebuild": "surgery",
    "truncate_layers": "surgery",
}

__all__ = list(_HOME)


def __getattr__(name: str) -> Any:
    # lazily, since settings and plans need no MindSpore
    if name not in _HOME:
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
