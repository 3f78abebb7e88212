"""The processes of a job: each at the head of a session of its own, none outlives the launcher."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, cast

__all__ = ["Guard", "Watched", "started"]

_GUARD = Path(__file__).with_name("guard.py")
_TAIL = 20  # lines
# what a worker says that has stopped in training; see `ms_eff.train.interrupt.Interrupted`
_SAVED = ("ms-eff: stopped by ", "; saved ")


@dataclass
class Watched:
    """A process of the job."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path

    @property
    def code(self) -> int | None:
        """How it ended, or None."""
        return self.process.poll()

    @property
    def saved(self) -> bool:
        """Whether it says that it was stopped in training, where all save after the same step."""
        begins, holds = _SAVED
        return any(line.startswith(begins) and holds in line for line in self.last_lines())

    def ask(self) -> None:
        """Send SIGTERM to the process itself, not to those that it has started."""
        if self.code is None:
            self.process.terminate()

    def end(self) -> None:
        """Kill it and all that it has started, and wait."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def last_lines(self, count: int = _TAIL) -> list[str]:
        """Return the end of its log, without empty lines."""
        try:
            text = self.log.read_bytes()[-20_000:].decode(errors="replace")
        except OSError:
            return []
        return [line for line in text.splitlines() if line.strip()][-count:]


class Guard:
    """The process that ends the others if this one is killed; see `ms_eff.launch.guard`.

    Args:
        grace: seconds that workers have to save in.
    """

    def __init__(self, grace: float) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", str(_GUARD), str(grace)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,  # who reads our output to its end does not wait for it
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        self._pipe = cast(IO[bytes], self._process.stdin)

    def introduce(self, role: str) -> None:
        """Name this process to the guard: called in the child, before it becomes what it is to be.

        The parent would do it too late if it were killed in between.
        """
        os.write(self._pipe.fileno(), f"{role} {os.getpid()}\n".encode())

    def dismiss(self) -> None:
        """Tell it that all is over, and wait until it has gone."""
        with contextlib.suppress(OSError):  # it was killed
            self._pipe.write(b"done\n")
            self._pipe.close()
        self._process.wait()


def started(
    name: str, words: Sequence[str], environment: Mapping[str, str], log: Path, guard: Guard
) -> Watched:
    """Start a process that writes to a log, known to the guard from its first moment."""
    role = "scheduler" if name == "scheduler" else "worker"
    with log.open("wb") as stream:
        process = subprocess.Popen(
            words,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=lambda: guard.introduce(role),
        )
    return Watched(name, process, log)
