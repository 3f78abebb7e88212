"""Calibration statistics of a parent: measured once, kept on disk, taken up by later runs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ms_eff.data.language import check_vocabulary, encode_files, windows
from ms_eff.methods.lowrank.graph_moments import collect_by_block
from ms_eff.methods.progressive.identity import ids_digest, model_digest
from ms_eff.methods.progressive.settings import CalibrationSettings
from ms_eff.methods.progressive.stacks import embedded, stack_of
from ms_eff.methods.progressive.statistics import SavedMoments, StatisticsWriter
from ms_eff.train.interrupt import lock_folder

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

    Memory: one block with its moments, and what goes into the first block; the folder needs,
    meanwhile, 4 bytes a token, channel and block. Stopped, it goes on at the pass through a block.

    Args:
        parent: the model on disk, or one compressed.
        tokenizer: of the parent.
        settings: which text.
        folder: of the statistics: new, empty, or with statistics whole or begun.
        tell: told how many of how many passes through a block are done.

    Raises:
        ConfigError: the folder holds statistics of another text or parent, or other things.
        SetupError: another run is writing into it.
        DataError: the text is too short.
    """
    rows = calibration_windows(parent, tokenizer, settings)
    made_from: dict[str, Any] = {
        "parent": parent.path.name,
        "parent_digest": model_digest(parent),
        "files": [file.name for file in settings.files],
        "ids_digest": ids_digest(rows),
        "tokens": settings.tokens,
        "window": settings.window,
    }
    if not SavedMoments.held_by(folder):
        with lock_folder(folder, key="calibration.statistics="):
            if not SavedMoments.held_by(folder):  # another run may just have come to its end
                _measure(parent, rows, StatisticsWriter(folder, made_from), tell)
    saved = SavedMoments(folder)
    saved.check(made_from)
    return saved


def calibration_windows(
    parent: Model, tokenizer: Tokenizer, settings: CalibrationSettings
) -> np.ndarray:
    """Return the windows (n, N) of token ids that are measured.

    Raises:
        ConfigError: the tokenizer is another model's.
        DataError: a file is missing, or the text makes no window.
    """
    ids = encode_files(tokenizer, settings.files)
    check_vocabulary(ids, parent.shape.vocab_size, "calibration.files")
    return windows(ids, settings.window, settings.tokens, "calibration.files")


def _measure(
    parent: Model, rows: np.ndarray, writer: StatisticsWriter, tell: Callable[[int, int], None]
) -> None:
    """Measure windows of token ids, from where a stopped call left it."""
    passes = 2 * parent.shape.depth
    for i, found in collect_by_block(
        stack_of(parent, rows.shape[1] - 1),
        embedded(parent, rows[:, :-1]),
        np.ascontiguousarray(rows[:, 1:]),
        writer.folder / "states.partial",
        lambda done: tell(done, passes),
    ):
        prefix = f"{parent.shape.blocks}.{i}."
        writer.add({prefix + name.removeprefix("block."): m for name, m in found.items()})
    writer.finish(rows.size)
