"""Make neural networks cheaper to train and to run on Ascend; everything here proves itself on CPU.

The names below are the public surface. They load when first used, so that `import ms_eff` is light
and the CPU kernels are chosen (see `ms_eff.runtime`) before MindSpore starts.
"""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.1.0"

_NAMES = {
    "apply_lowrank": "ms_eff.methods.lowrank.surgery",
    "apply_skipvit": "ms_eff.methods.skipvit.surgery",
    "apply_spatiotemporal": "ms_eff.methods.spatiotemporal.surgery",
    "branch": "ms_eff.methods.lowrank.surgery",
    "build_model": "ms_eff.models",
    "clean_text": "ms_eff.cleaning.clean",
    "convert_attention": "ms_eff.methods.gqkva.surgery",
    "count": "ms_eff.bench.counts",
    "export": "ms_eff.deploy.export",
    "fold_norms": "ms_eff.deploy.folding",
    "load": "ms_eff.train.checkpoint",
    "load_config": "ms_eff.config",
    "load_language_model": "ms_eff.methods.progressive.members",
    "load_weights": "ms_eff.models",
    "merge_bottlenecks": "ms_eff.methods.lowrank.merging",
    "save_weights": "ms_eff.models",
    "search_ranks": "ms_eff.methods.lowrank.search",
    "select_layers": "ms_eff.methods.lowrank.selection",
    "train_bpe": "ms_eff.data.bpe",
    "truncate_layers": "ms_eff.methods.truncation.surgery",
}
_ORIGINAL = {"build_model": "build", "load": "rebuild", "load_language_model": "load_member"}

__all__ = ["__version__", *_NAMES]


def __getattr__(name: str) -> Any:
    if name not in _NAMES:
        raise AttributeError(f"module 'ms_eff' has no attribute '{name}'")
    if name != "load_config":
        from ms_eff.runtime import prepare_cpu

        prepare_cpu()
    value = getattr(importlib.import_module(_NAMES[name]), _ORIGINAL.get(name, name))
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
