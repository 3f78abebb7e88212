"""Training on small data within minutes: SAM, gradient centralization, patch whitening and more.

Paper: arXiv:2309.03965.
"""

from __future__ import annotations

import importlib
from typing import Any

_HOME = {
    "GhostBatchNorm": "method",
    "GhostBatchNormSettings": "settings",
    "GradientCentralization": "method",
    "GradientCentralizationSettings": "settings",
    "MetaGradient": "meta",
    "MetaLearning": "method",
    "MetaLearningSettings": "settings",
    "PatchWhitening": "method",
    "PatchWhiteningSettings": "settings",
    "ProgressiveFreezing": "method",
    "ProgressiveFreezingSettings": "settings",
    "ProgressiveResizing": "method",
    "ProgressiveResizingSettings": "settings",
    "SAM": "method",
    "SAMSettings": "settings",
    "SharpGradient": "sam",
    "Shrunk": "stages",
    "WhitenedConv": "whitening",
    "apply_ghost_batch_norm": "ghost",
    "centralize": "centralization",
    "centralized_weights": "centralization",
    "patch_moments": "core",
    "whitened": "whitening",
    "whitening_filters": "core",
}

__all__ = list(_HOME)


def __getattr__(name: str) -> Any:
    # lazily, since settings and filters need no MindSpore
    if name not in _HOME:
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
