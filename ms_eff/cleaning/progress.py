"""How far a cleaning is: a bar on a terminal, a plain line now and then elsewhere."""

from __future__ import annotations

import time

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

__all__ = ["CleaningBar"]


class CleaningBar:
    """Progress in bytes of the stored inputs.

    Args:
        console: where it is shown.
        title: in front.
        total: bytes; 0 if nobody knows.
        done: bytes that earlier calls went through.
        every: seconds between two plain lines.
    """

    def __init__(
        self, console: Console, title: str, total: int, done: int = 0, every: float = 10.0
    ) -> None:
        self.console, self.title, self.total, self.every = console, title, total, every
        self.told = time.monotonic()
        self.bar: Progress | None = None
        if console.is_terminal:
            self.bar = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                DownloadColumn(),
                TransferSpeedColumn(),
                TimeElapsedColumn(),
                TimeRemainingColumn(),
                TextColumn("{task.fields[note]}"),
                console=console,
                transient=True,
            )
            self.task = self.bar.add_task(title, total=total or None, completed=done, note="")

    def __enter__(self) -> CleaningBar:
        if self.bar:
            self.bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.bar:
            self.bar.stop()

    def update(self, done: int, read: int, kept: int) -> None:
        """Show bytes gone through, lines read and lines kept."""
        note = f"{kept:,} of {read:,} lines kept"
        if self.bar:
            self.bar.update(self.task, completed=done, note=note)
        elif time.monotonic() - self.told >= self.every:
            self.told = time.monotonic()
            share = f"{100 * done / self.total:.0f} % · " if self.total else ""
            self.console.print(f"{self.title}: {share}{note}", highlight=False)
