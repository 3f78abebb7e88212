"""Outlives the launcher: ends its processes if it is killed and cannot do so itself.

`python guard.py GRACE`, started by the launcher, reads lines from a pipe that the launcher holds:
`worker PID`, `scheduler PID`, and `done` when all is over. A pipe that ends without `done` says
that the launcher has died, however that came: the workers are asked to stop as by SIGTERM, so that
they save, and whatever is left after the grace is killed. The scheduler goes last, for workers that
save need it. A signal at the parent's death (prctl's PR_SET_PDEATHSIG) would do the first half
alone: a worker that waits in a collective for one that is gone never comes to its signal handler.

Imports nothing of ours: it is to start at once, and to stay small.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

__all__ = ["main", "started_at", "state_of", "watched"]

_POLL = 0.2  # seconds between two looks


def started_at(pid: int) -> str | None:
    """Return when a process began, in the kernel's own words; None: it has ended.

    Process ids are given out again: a process is the same one if this is the same.
    """
    words = _said_of(pid)
    return None if not words or words[0] == "Z" else words[19]


def state_of(pid: int) -> str | None:
    """Return the kernel's letter for what a process does, such as S, R, T; None: it has ended."""
    words = _said_of(pid)
    return words[0] if words else None


def _said_of(pid: int) -> list[str]:
    try:
        text = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except OSError:
        return []
    return text.rpartition(")")[2].split()  # the name before may hold anything


def watched(lines: list[str]) -> list[tuple[str, int, str]]:
    """Return (role, pid, start) of the processes named so far that still run."""
    named = [line.split() for line in lines if line.count(" ") == 1]
    found = [(role, int(pid), started_at(int(pid))) for role, pid in named]
    return [(role, pid, start) for role, pid, start in found if start is not None]


def main(grace: float) -> int:
    """Wait for the end of the pipe; end what is left.

    Args:
        grace: seconds that workers have for saving.
    """
    processes: list[tuple[str, int, str]] = []
    for line in sys.stdin:
        if line.strip() == "done":
            return 0
        processes += watched([line])
    workers = [(pid, start) for role, pid, start in processes if role == "worker"]
    _send(workers, os.kill, signal.SIGTERM)
    until = time.monotonic() + grace
    while time.monotonic() < until and any(started_at(pid) == start for pid, start in workers):
        time.sleep(_POLL)
    # each is at the head of a session of its own
    _send([(pid, start) for _, pid, start in processes], os.killpg, signal.SIGKILL)
    return 0


def _send(
    processes: list[tuple[int, str]], how: Callable[[int, int], None], number: signal.Signals
) -> None:
    for pid, start in processes:
        if started_at(pid) == start:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                how(pid, number)


if __name__ == "__main__":
    sys.exit(main(float(sys.argv[1])))
