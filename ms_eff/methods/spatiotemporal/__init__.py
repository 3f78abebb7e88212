"""Video networks without 5D tensors: every 3D convolution becomes 2D ones.

Paper: arXiv:2407.16514.
"""

from __future__ import annotations

import importlib
from typing import Any

_HOME = {
    "VARIANTS": "core",
    "Spatiotemporal": "method",
    "SpatiotemporalPlan": "plan",
    "SpatiotemporalSettings": "settings",
    "apply_spatiotemporal": "surgery",
    "middle_channels": "core",
    "rebuild": "surgery",
}

__all__ = list(_HOME)


def __getattr__(name: str) -> Any:
    # lazily, since settings and plans need no MindSpore
    if name not in _HOME:
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
