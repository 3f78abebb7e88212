"""GQKVA: attention with grouped queries, keys and values.

Paper: arXiv:2311.03426.
"""

from __future__ import annotations

import importlib
from typing import Any

_HOME = {
    "GQKVA": "method",
    "GQKVASettings": "settings",
    "GroupPlan": "plan",
    "convert_attention": "surgery",
    "pool": "core",
    "rebuild": "surgery",
    "repeat": "core",
}

__all__ = list(_HOME)


def __getattr__(name: str) -> Any:
    # lazily, since settings and plans need no MindSpore
    if name not in _HOME:
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
