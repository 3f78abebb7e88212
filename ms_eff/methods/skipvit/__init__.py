"""SkipViT: unimportant patch tokens skip some blocks and come back in a later one.

Paper: arXiv:2401.15293.
"""

from __future__ import annotations

import importlib
from typing import Any

_HOME = {
    "Route": "core",
    "RoutedBlocks": "cells",
    "SkipViT": "method",
    "SkipViTSettings": "settings",
    "apply_skipvit": "surgery",
    "ideal_gain": "core",
    "kept_patches": "surgery",
    "rebuild": "surgery",
}

__all__ = list(_HOME)


def __getattr__(name: str) -> Any:
    # lazily, since settings and plans need no MindSpore
    if name not in _HOME:
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
