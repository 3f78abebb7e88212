"""Whether the workers of this host still take steps: one that hangs brings all others to a stop.

A worker that is stopped, or waits for something that never comes, does not end, and the others
wait in their next exchange of gradients for ever. HCCL gives up by itself after half an hour; what
runs on CPUs does not.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping
from pathlib import Path

from ms_eff.launch.guard import state_of

__all__ = ["Pulses"]

_EVERY = 0.5  # seconds between two looks
_STATES = {"T": "stopped by a signal", "t": "held by a debugger", "D": "waiting for a disk"}


class Pulses:
    """The files that the workers touch as they train, see `ms_eff.train.pulse`.

    Files that lie there before are of an earlier job and are deleted.

    Args:
        files: rank -> its file.
        limit: seconds without a sign until a worker hangs; 0: however long.
    """

    def __init__(self, files: Mapping[int, Path], limit: float) -> None:
        self._files, self._limit = files, limit
        self._seen: dict[int, tuple[int, float]] = {}
        self._next = 0.0
        for file in files.values():
            with contextlib.suppress(OSError):
                file.unlink(missing_ok=True)

    def look(self, pids: Mapping[int, int]) -> str | None:
        """Return who has given no sign for too long, or None.

        Args:
            pids: rank -> the process that runs it, for what the kernel says of those that hang.
        """
        now = time.monotonic()
        if self._limit == 0 or now < self._next:
            return None
        self._next = now + _EVERY
        for rank, file in self._files.items():
            self._listen(rank, file, now)
        quiet = {rank: now - heard for rank, (_, heard) in self._seen.items()}
        if not quiet or max(quiet.values()) <= self._limit:
            return None
        # those that only wait for the one that hangs fall silent a little earlier or later
        silent = [rank for rank, seconds in quiet.items() if seconds > self._limit / 2]
        found = {rank: _STATES.get(state_of(pids[rank]) or "") for rank in silent if rank in pids}
        names = [f"rank {r} ({found[r]})" if found.get(r) else f"rank {r}" for r in silent]
        return f"no step was finished for {self._limit:.0f} s by {', '.join(names)}"

    def _listen(self, rank: int, file: Path, now: float) -> None:
        try:
            touched = file.stat().st_mtime_ns
        except OSError:  # outside of training
            self._seen.pop(rank, None)
            return
        if self._seen.get(rank, (None,))[0] != touched:
            self._seen[rank] = (touched, now)
