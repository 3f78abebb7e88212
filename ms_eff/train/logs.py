"""What a run tells: a bar on a terminal, plain lines elsewhere, CSV and JSON lines always."""

from __future__ import annotations

import csv
import json
import time
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from ms_eff.errors import SetupError
from ms_eff.files import replacing

__all__ = ["EpochBar", "History", "passes"]


class History:
    """The rows of all epochs as `log.csv` and `log.jsonl` of the run's folder, and TensorBoard.

    The files are rewritten whole from the rows, so that after a resume they hold no row twice.
    """

    def __init__(self, folder: Path, tensorboard: bool = False) -> None:
        self.folder = folder
        self.board = _board(folder) if tensorboard else None

    def write(self, rows: list[dict[str, Any]]) -> None:
        """Write all rows, and the last one to TensorBoard."""
        columns = list(dict.fromkeys(key for row in rows for key in row))
        with (
            replacing(self.folder / "log.csv", SetupError, parents=True) as path,
            path.open("w", newline="") as stream,
        ):
            writer = csv.DictWriter(stream, columns)
            writer.writeheader()
            writer.writerows(rows)
        with replacing(self.folder / "log.jsonl", SetupError) as path:
            path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        if self.board is not None:
            for key, value in rows[-1].items():
                if isinstance(value, float):
                    self.board.add_scalar(key, value, rows[-1]["step"])

    def close(self) -> None:
        """Let TensorBoard's writer finish: its thread dies with the process, unwritten or not."""
        if self.board is not None:
            self.board.close()


class EpochBar:
    """Progress of one epoch: a bar on a terminal, a plain line every `every` steps elsewhere."""

    def __init__(self, console: Console, title: str, steps: int, done: int, every: int) -> None:
        self.console, self.title, self.steps = console, title, steps
        self.done, self.every = done, every
        self.started = time.monotonic()
        self.samples = 0
        self.bar: Progress | None = None
        if console.is_terminal:
            self.bar = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
                TimeRemainingColumn(),
                TextColumn("{task.fields[note]}"),
                console=console,
                transient=True,
            )
            self.task = self.bar.add_task(title, total=steps, completed=done, note="")

    def __enter__(self) -> EpochBar:
        if self.bar:
            self.bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.bar:
            self.bar.stop()

    def advance(self, loss: float, samples: int, steps: int = 1) -> None:
        """Count one step, or several that were done at a call."""
        self.done += steps
        self.samples += samples
        note = f"loss {loss:.4f} · {self.rate():.0f} samples/s"
        if self.bar:
            self.bar.update(self.task, completed=self.done, note=note)
        elif passes(self.done, steps, self.every) and self.done < self.steps:
            self.console.print(f"{self.title} step {self.done}/{self.steps} · {note}")

    def rate(self) -> float:
        """Return samples per second since the bar began."""
        return self.samples / max(time.monotonic() - self.started, 1e-9)


def passes(done: int, steps: int, every: int) -> bool:
    """Tell whether the last `steps` of `done` steps passed a multiple of `every`.

    >>> passes(8, 1, 4), passes(9, 3, 4), passes(9, 1, 4)
    (True, True, False)
    """
    return done // every > (done - steps) // every


def _board(folder: Path) -> Any:
    try:
        from tensorboardX import SummaryWriter
    except ImportError as error:
        raise SetupError(
            "train.tensorboard: tensorboardX is not installed; pip install 'ms_eff[report]'"
        ) from error
    try:
        return SummaryWriter(str(folder / "tensorboard"), flush_secs=5)
    except OSError as error:
        raise SetupError(
            f"{folder / 'tensorboard'}: cannot be written: {error.strerror}"
        ) from error
