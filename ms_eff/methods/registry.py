"""Which methods there are: config key -> (settings, method), imported only when used."""

from __future__ import annotations

import importlib
import math
from typing import TYPE_CHECKING, Any

from ms_eff.errors import ConfigError, nearest
from ms_eff.section import Section

if TYPE_CHECKING:
    from ms_eff.methods.base import Method

__all__ = [
    "METHODS",
    "check_batches",
    "check_conflicts",
    "check_task",
    "method_class",
    "settings_class",
]

# settings modules import no mindspore, so that a config is checked before anything heavy starts
METHODS: dict[str, tuple[str, str]] = {
    "distillation": (
        "ms_eff.methods.distillation.settings:DistillationSettings",
        "ms_eff.methods.distillation.method:Distillation",
    ),
    "gqkva": (
        "ms_eff.methods.gqkva.settings:GQKVASettings",
        "ms_eff.methods.gqkva.method:GQKVA",
    ),
    "skipvit": (
        "ms_eff.methods.skipvit.settings:SkipViTSettings",
        "ms_eff.methods.skipvit.method:SkipViT",
    ),
    "spatiotemporal": (
        "ms_eff.methods.spatiotemporal.settings:SpatiotemporalSettings",
        "ms_eff.methods.spatiotemporal.method:Spatiotemporal",
    ),
    "truncation": (
        "ms_eff.methods.truncation.settings:TruncationSettings",
        "ms_eff.methods.truncation.method:Truncation",
    ),
    "swiftlearn": (
        "ms_eff.methods.swiftlearn.settings:SwiftLearnSettings",
        "ms_eff.methods.swiftlearn.method:SwiftLearn",
    ),
    "lowrank": (
        "ms_eff.methods.lowrank.settings:LowRankSettings",
        "ms_eff.methods.lowrank.method:LowRank",
    ),
    **{
        name: (
            f"ms_eff.methods.small_data.settings:{method}Settings",
            f"ms_eff.methods.small_data.method:{method}",
        )
        for name, method in (
            ("sam", "SAM"),
            ("gradient_centralization", "GradientCentralization"),
            ("patch_whitening", "PatchWhitening"),
            ("meta_learning", "MetaLearning"),
            ("ghost_batch_norm", "GhostBatchNorm"),
            ("progressive_freezing", "ProgressiveFreezing"),
            ("progressive_resizing", "ProgressiveResizing"),
        )
    },
}


def settings_class(name: str) -> type[Section]:
    """Return the settings of a method; raises ConfigError with the nearest name."""
    return _load(name, 0)


def method_class(name: str) -> type[Method]:
    """Return the method itself; raises ConfigError with the nearest name."""
    return _load(name, 1)


def check_conflicts(methods: list[Method], time_budget: bool = False) -> None:
    """Refuse two methods that cannot work together, or one and a time budget, naming both.

    Some work together in one order only.
    """
    for first in methods:
        if time_budget and first.counts():
            raise ConfigError(
                f"train.time_budget: '{first.name}' counts on a number of epochs, which a time "
                "budget leaves open; drop one"
            )
        for second in methods:
            if second.name in first.excludes():
                raise ConfigError(
                    f"methods: '{first.name}' and '{second.name}' cannot be combined; drop one"
                )
    changed_by = ""
    for method in methods:
        if changed_by and method.needs_plain_loss():
            raise ConfigError(
                f"methods: '{method.name}' takes the place of the plain loss, which '{changed_by}' "
                f"before it has changed; list '{method.name}' first"
            )
        changed_by = changed_by or (method.name if method.changes_loss() else "")


def check_batches(methods: list[Method], size: int, drop_last: bool) -> None:
    """Refuse batches that methods cannot divide, one of them what another leaves of a batch.

    Args:
        methods: of the run.
        size: samples in a worker's batch.
        drop_last: whether samples that fill no batch are left out.
    """
    dividing = {method.name: method.parts() for method in methods if method.parts() > 1}
    parts = math.prod(dividing.values())
    if size % parts:
        product = " x ".join(map(str, dividing.values()))
        raise ConfigError(
            f"data.batch_size = {size}: {' and '.join(map(repr, dividing))} divide"
            f"{'s' if len(dividing) == 1 else ''} it into {product} equal parts; use a multiple of "
            f"{product}{f' = {parts}' if len(dividing) > 1 else ''}"
        )
    full = [method.name for method in methods if method.full_batches]
    if full and not drop_last:
        raise ConfigError(
            f"data.drop_last = false: '{full[0]}' needs samples in each part of a batch, and the "
            "last one may hold too few; use true"
        )


def check_task(methods: list[Method], task: str) -> None:
    """Refuse a method that has no meaning for what the network is to learn."""
    for method in methods:
        if task not in method.tasks:
            raise ConfigError(
                f"methods: '{method.name}' is for {', '.join(method.tasks)}, and these data are "
                f"for {task}; drop it"
            )


def _load(name: str, which: int) -> Any:
    if name not in METHODS:
        raise ConfigError(
            f"methods: unknown method '{name}'{nearest(name, METHODS)}; known: {', '.join(METHODS)}"
        )
    module, attribute = METHODS[name][which].split(":")
    return getattr(importlib.import_module(module), attribute)
