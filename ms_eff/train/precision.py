"""Mixed precision levels and the loss scale that goes with them."""

from __future__ import annotations

import mindspore as ms
from mindspore import nn

from ms_eff.errors import ConfigError
from ms_eff.methods.replace import replaced
from ms_eff.train.scaling import LossScale
from ms_eff.train.settings import TrainSettings

__all__ = ["in_float32", "in_precision", "loss_scale", "mixed_precision", "resolve"]

_LEVELS = ("auto", "O0", "O2", "O3")
_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm, nn.LayerNorm)


def resolve(level: str) -> str:
    """Return the level that `auto` stands for on this device: O2 on Ascend, else O0."""
    if level != "auto":
        return level
    return "O2" if ms.get_context("device_target") == "Ascend" else "O0"


def mixed_precision(model: nn.Cell, level: str) -> nn.Cell:
    """Set what the network computes in; parameters stay float32 (the optimiser's master copy).

    O0: float32. O2: float16 but for normalisation layers. O3: float16 throughout. The cells are
    marked in place, so parameter names do not change (MindSpore's own function wraps the network).
    """
    level = resolve(level)
    if level == "O0":
        return model
    model.to_float(ms.float16)
    if level == "O2":
        for _, cell in model.cells_and_names():
            if isinstance(cell, _NORMS):
                cell.to_float(ms.float32)
    return model


def in_float32(model: nn.Cell) -> nn.Cell:
    """Set a network back to what it computes in without a level; graphs are compiled anew."""
    return model.to_float(ms.float32)


def in_precision(model: nn.Cell, level: str) -> nn.Cell:
    """Return a copy that computes as `mixed_precision` says; at O0 the very network.

    The network that was given keeps its marks, and its compiled graphs.

    Raises:
        ConfigError: there is no such level.

    >>> in_precision(nn.Dense(2, 2), "O1")
    Traceback (most recent call last):
    ms_eff.errors.ConfigError: precision = 'O1': no such level; known: auto, O0, O2, O3
    """
    if level not in _LEVELS:
        raise ConfigError(f"precision = {level!r}: no such level; known: {', '.join(_LEVELS)}")
    level = resolve(level)
    return model if level == "O0" else mixed_precision(replaced(model, []), level)


def loss_scale(settings: TrainSettings) -> LossScale | None:
    """Return the loss scale of a half-precision level, None for float32."""
    if resolve(settings.precision) == "O0":
        return None
    if settings.loss_scale in ("auto", "dynamic"):
        return LossScale(2.0**16, dynamic=True)
    return LossScale(float(settings.loss_scale), dynamic=False)
