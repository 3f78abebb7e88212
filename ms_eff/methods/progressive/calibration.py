"""Calibration statistics of a parent: measured once, kept on disk, taken up by later runs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ms_eff.data.language import encode_files, windows
from ms_eff.methods.lowrank.graph_moments import collect_by_block
from ms_eff.methods.progressive.identity import ids_digest, model_digest
from ms_eff.methods.progressive.settings import CalibrationSettings
from ms_eff.methods.progressive.stacks import embedded, stack_of
from ms_eff.methods.progressive.statistics import SavedMoments, StatisticsWriter

if TYPE_CHECKING:
    from tokenizers import Tokenizer

    from ms_eff.methods.progressive.compressed import Model

__all__ = ["calibrated", "calibration_windows"]


def calibrated(
    parent: Model,
    tokenizer: Tokenizer,
    settings: CalibrationSettings,
    folder: Path,
    tell: Callable[[int, int], None] = lambda done, total: None,
) -> SavedMoments:
    """Return the moments of a parent's block linears over a text; measured if no folder has them.

    Memory: one block with its moments, and the embedding; the folder needs, meanwhile, 4 bytes a
    token, channel and block.

    Args:
        parent: the model on disk, or one compressed.
        tokenizer: of the parent.
        settings: which text.
        folder: of the statistics.
        tell: told how many of how many passes through a block are done.

    Raises:
        ConfigError: the folder holds statistics of other text or of another parent.
        DataError: the text is too short.
    """
    made_from: dict[str, Any] = {
        "parent": parent.path.name,
        "parent_digest": model_digest(parent),
        "files": [file.name for file in settings.files],
        "ids_digest": ids_digest(calibration_windows(tokenizer, settings)),
        "tokens": settings.tokens,
        "window": settings.window,
    }
    if SavedMoments.held_by(folder):
        saved = SavedMoments(folder)
        saved.check(made_from)
        return saved
    rows = calibration_windows(tokenizer, settings)
    writer = StatisticsWriter(folder, made_from)
    stack = stack_of(parent, settings.window - 1)
    hidden = embedded(parent, rows[:, :-1])
    passes = iter(range(1, 2 * parent.shape.depth + 1))
    for i, found in collect_by_block(
        stack,
        hidden,
        np.ascontiguousarray(rows[:, 1:]),
        folder / "states.partial",
        lambda: tell(next(passes), 2 * parent.shape.depth),
    ):
        prefix = f"{parent.shape.blocks}.{i}."
        writer.add({prefix + name.removeprefix("block."): m for name, m in found.items()})
    return writer.finish()


def calibration_windows(tokenizer: Tokenizer, settings: CalibrationSettings) -> np.ndarray:
    """Return the windows (n, N) of token ids that are measured; raises DataError if it is none."""
    return windows(encode_files(tokenizer, settings.files), settings.window, settings.tokens)
