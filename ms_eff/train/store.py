"""Which checkpoints of a training run stay on disk: the last few and the best."""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ms_eff.errors import CheckpointError
from ms_eff.train import checkpoint
from ms_eff.train.checkpoint import Checkpoint

__all__ = ["Store"]

_NAME = re.compile(r"step-(\d{8})")


class Store:
    """The folder `checkpoints/` of a run: one folder a checkpoint, named by its step.

    Args:
        folder: where; made on the first save.
        keep: how many of the newest stay. The best (of `best_step`) stays as well.
    """

    def __init__(self, folder: Path, keep: int) -> None:
        self.folder = folder
        self.keep = keep

    def save(
        self,
        step: int,
        weights: Mapping[str, np.ndarray],
        state: Mapping[str, Any],
        training: Mapping[str, np.ndarray],
    ) -> Path:
        """Write a checkpoint, then drop those that need not stay."""
        path = checkpoint.save(self.path(step), weights, state, training)
        wanted = {*self.steps()[-self.keep :], state.get("best_step")}
        for old in self.steps():
            if old not in wanted:
                shutil.rmtree(self.path(old), ignore_errors=True)
        for leftover in self.folder.glob(".step-*"):  # of a run that was killed while saving
            shutil.rmtree(leftover, ignore_errors=True)
        return path

    def latest(self) -> tuple[Checkpoint | None, list[str]]:
        """Return the newest checkpoint that is whole, and what is wrong with newer ones."""
        complaints: list[str] = []
        for step in reversed(self.steps()):
            try:
                return checkpoint.read(self.path(step)), complaints
            except CheckpointError as error:
                complaints.append(str(error))
        if complaints:
            raise CheckpointError(f"{complaints[0]}; no whole checkpoint in {self.folder}")
        return None, []

    def path(self, step: int) -> Path:
        """Return the folder of that step's checkpoint."""
        return self.folder / f"step-{step:08d}"

    def steps(self) -> list[int]:
        """Return the steps that have a checkpoint, rising."""
        if not self.folder.is_dir():
            return []
        found = (_NAME.fullmatch(p.name) for p in self.folder.iterdir())
        return sorted(int(match[1]) for match in found if match)
