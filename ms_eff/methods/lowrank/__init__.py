"""Low-rank decomposition of dense, convolution and embedding layers.

Papers: arXiv:2407.20266, arXiv:2309.12412, arXiv:2309.03824.
"""

from __future__ import annotations

import importlib
from typing import Any

_HOME = {
    "FreezeSettings": "settings",
    "LayerPlan": "plan",
    "LayerReport": "reports",
    "LowRank": "method",
    "LowRankCell": "cells",
    "LowRankPlan": "plan",
    "LowRankSettings": "settings",
    "apply_lowrank": "surgery",
    "branch": "surgery",
    "estimate_statistics": "statistics",
    "frozen_factors": "freezing",
    "merge_bottlenecks": "merging",
    "rebuild": "rebuilding",
}

__all__ = list(_HOME)


def __getattr__(name: str) -> Any:
    # lazily, since settings and plans need no MindSpore
    if name not in _HOME:
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
