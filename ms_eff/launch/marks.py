"""How the hosts of a job tell each other that one has given up: files in the shared output."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path

from ms_eff.launch.job import Job

__all__ = ["Marks"]

_EVERY = 2.0  # seconds between two looks: the folder may be a network's


class Marks:
    """The marks of the hosts, a file a host in the output folder.

    Without them, the workers of the other hosts would wait in a collective until HCCL's own time
    limit (`device.hccl.exec_timeout`, half an hour by default). Marks that lie there when a job
    begins are of an earlier one and do not count.

    Args:
        job: on this host.
    """

    def __init__(self, job: Job) -> None:
        self._folder = job.output
        self._own = self._path(job.options.node_rank)
        self._shared = job.options.nnodes > 1
        self._next = 0.0
        if self._shared:
            self._own.unlink(missing_ok=True)
        self._old = self._written()

    def leave(self, what: str) -> None:
        """Tell the other hosts why this one has given up."""
        if self._shared:
            with contextlib.suppress(OSError):  # then they find out by themselves, later
                self._own.write_text(what, encoding="utf-8")

    def of_others(self) -> str | None:
        """Return what another host has told since the job began."""
        if not self._shared or time.monotonic() < self._next:
            return None
        self._next = time.monotonic() + _EVERY
        for path, when in self._written().items():
            if path != self._own and self._old.get(path) != when:
                with contextlib.suppress(OSError):
                    return f"{path.stem.removeprefix('.failed-')}: {path.read_text('utf-8')}"
        return None

    def _path(self, node: int) -> Path:
        return self._folder / f".failed-host-{node}.txt"

    def _written(self) -> dict[Path, int]:
        if not self._shared:
            return {}
        found: dict[Path, int] = {}
        for path in self._folder.glob(".failed-host-*.txt"):
            with contextlib.suppress(OSError):  # it may go in between
                found[path] = path.stat().st_mtime_ns
        return found
