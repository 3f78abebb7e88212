"""SwiftLearn: after a warm-up, train on the samples whose logits moved most; and its rivals.

Paper: arXiv:2311.15134.
"""

from __future__ import annotations

import importlib
from typing import Any

_HOME = {
    "Passes": "core",
    "SwiftLearn": "method",
    "SwiftLearnSettings": "settings",
    "ideal_speed_up": "core",
    "movement": "core",
    "probabilities": "core",
}

__all__ = list(_HOME)


def __getattr__(name: str) -> Any:
    # lazily, since settings and arithmetic need no MindSpore
    if name not in _HOME:
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
