"""How the hosts of a job tell each other that one has given up: files in the shared output."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path

__all__ = ["Marks", "leave_mark"]

_EVERY = 2.0  # seconds between two looks: the folder may be a network's


class Marks:
    """The marks of the hosts, a file a host in the output folder.

    Without them, the workers of the other hosts would wait in a collective until HCCL's own time
    limit (`device.hccl.exec_timeout`, half an hour by default). Marks that lie there when a job
    begins are of an earlier one and do not count.

    Args:
        folder: output of the job, shared by the hosts.
        node: this host's place.
        hosts: how many there are; one alone neither writes nor reads.
    """

    def __init__(self, folder: Path, node: int, hosts: int) -> None:
        self._folder, self._node = folder, node
        self._own = _path(folder, node)
        self._shared = hosts > 1
        self._next = 0.0
        if self._shared:
            self._own.unlink(missing_ok=True)
        self._old = self._written()

    def leave(self, what: str) -> None:
        """Tell the other hosts why this one has given up."""
        if self._shared:
            leave_mark(self._folder, self._node, what)

    def of_others(self, now: bool = False) -> str | None:
        """Return what another host has told since the job began.

        Args:
            now: look even if the last look was a moment ago.
        """
        if not self._shared or (time.monotonic() < self._next and not now):
            return None
        self._next = time.monotonic() + _EVERY
        for path, when in self._written().items():
            if path != self._own and self._old.get(path) != when:
                with contextlib.suppress(OSError):
                    text = path.read_text("utf-8")
                    if text:  # else it is being written
                        return f"{path.stem.removeprefix('.failed-').replace('-', ' ')}: {text}"
        return None

    def _written(self) -> dict[Path, int]:
        if not self._shared:
            return {}
        found: dict[Path, int] = {}
        for path in self._folder.glob(".failed-host-*.txt"):
            with contextlib.suppress(OSError):  # it may go in between
                found[path] = path.stat().st_mtime_ns
        return found


def leave_mark(folder: Path, node: int, what: str) -> None:
    """Tell the other hosts why this one has given up, or has not even begun."""
    with contextlib.suppress(OSError):  # then they find out by themselves, later
        folder.mkdir(parents=True, exist_ok=True)
        _path(folder, node).write_text(what, encoding="utf-8")


def _path(folder: Path, node: int) -> Path:
    return folder / f".failed-host-{node}.txt"
