"""What a command works on: its config, and the experiment in a locked output folder."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from ms_eff import runtime
from ms_eff.cli_tools import command_line
from ms_eff.train.interrupt import lock_folder, raising_stop

if TYPE_CHECKING:
    from ms_eff.config import Config
    from ms_eff.experiment import Experiment
    from ms_eff.methods.progressive.settings import FamilyConfig

__all__ = ["load", "locked", "opened"]


@contextmanager
def opened(
    path: Path, overrides: list[str] | None, device: str | None, fresh: bool = False
) -> Iterator[Experiment]:
    """An experiment that holds its output folder's lock for as long as the block runs."""
    from ms_eff.config import plain

    config = plain(load(path, overrides, device), path)
    with locked(config.output):
        runtime.prepare(config.device)  # before MindSpore is imported and counts the cores
        from ms_eff.experiment import Experiment

        yield Experiment(config, command_line(), fresh=fresh)


@contextmanager
def locked(output: Path) -> Iterator[None]:
    """Hold an output folder; signals raise `Stopped` meanwhile."""
    # msrun starts several processes on one folder: each rank, and the scheduler, has its own lock
    rank = os.environ.get("RANK_ID", "0")
    who = "-scheduler" if os.environ.get("MS_ROLE") == "MS_SCHED" else f"-{rank}"
    with lock_folder(output, ".lock" if who == "-0" else f".lock{who}"), raising_stop():
        yield


def load(path: Path, overrides: list[str] | None, device: str | None) -> Config | FamilyConfig:
    """Return the config of a file with its overrides; a family's is of a kind of its own."""
    from ms_eff.config import load_any

    extra = [f"device.target={device}"] if device else []
    return load_any(path, [*(overrides or []), *extra])
