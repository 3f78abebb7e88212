"""Watch over the processes of a job: the first that fails is named, none is left behind.

MindSpore's `msrun` kills all workers as soon as one ends with another code than 0, so that a job
that is asked to stop may be killed while it saves; and SIGTERM ends `msrun` alone. Hence this.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from ms_eff.launch.job import Job
from ms_eff.launch.marks import Marks

__all__ = ["Supervisor"]

_POLL = 0.1  # seconds between two looks
_FAREWELL = 10.0  # seconds that the others have once one has failed: a checkpoint in work is kept
_SCHEDULER = 30.0  # seconds that the scheduler has once the workers are done
_STOPPED = (128 + signal.SIGINT, 128 + signal.SIGTERM)
_TAIL = 20  # lines
_LOGGED = re.compile(r"\[(DEBUG|INFO|WARNING|ERROR|CRITICAL)\] ")


@dataclass
class Watched:
    """A process of the job, at the head of a session of its own."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path

    @property
    def code(self) -> int | None:
        """How it ended, or None."""
        return self.process.poll()

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


class Supervisor:
    """Runs a job to its end.

    Args:
        job: what to start.
    """

    def __init__(self, job: Job) -> None:
        self.job = job
        self.workers: list[Watched] = []
        self.scheduler: Watched | None = None
        self.signals: list[int] = []
        self.marks = Marks(job)

    def run(self) -> int:
        """Start everything, wait, clean up; return the exit code."""
        self.job.logs.mkdir(parents=True, exist_ok=True)
        with self._signals_noted():
            try:
                self._start()
                with self.workers[0].log.open("rb") as log:
                    return self._watch(log)
            finally:
                for watched in [*self.workers, *filter(None, [self.scheduler])]:
                    watched.end()

    def _start(self) -> None:
        if self.job.has_scheduler:
            self.scheduler = self._started("scheduler", self.job.of_scheduler())
        for rank in self.job.ranks:
            self.workers.append(self._started(f"rank_{rank}", self.job.of_worker(rank)))

    def _started(self, name: str, own: dict[str, str]) -> Watched:
        environment = {**os.environ, **self.job.environment(), **own}
        log = self.job.log(name)
        with log.open("wb") as stream:
            process = subprocess.Popen(
                self.job.process,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        return Watched(name, process, log)

    # waiting

    def _watch(self, log: BinaryIO) -> int:
        deadline: float | None = None
        while True:
            ended = [worker.code for worker in self.workers]
            _pass_on(log)
            failed = self._first_failed(asked=deadline is not None)
            if failed is not None:
                return self._give_up(failed)
            if None not in ended:
                return self._conclude([code for code in ended if code is not None])
            if deadline is None and (self.signals or any(c in _STOPPED for c in ended)):
                for worker in self.workers if self.signals else ():
                    worker.ask()
                deadline = time.monotonic() + self.job.options.grace
            if len(self.signals) > 1 or (deadline and time.monotonic() > deadline):
                return self._not_saved()
            told = self.marks.of_others()
            if told:
                return self._leave(told)
            time.sleep(_POLL)

    def _first_failed(self, asked: bool) -> Watched | None:
        """Return the process that brings the job down; of several, one that a signal ended."""
        fine = (None, 0, *_STOPPED, *((-signal.SIGTERM,) if asked else ()))
        bad = [worker for worker in self.workers if worker.code not in fine]
        all_run = all(worker.code is None for worker in self.workers)
        if all_run and self.scheduler and self.scheduler.code not in fine:
            bad = [self.scheduler]
        return min(bad, key=lambda worker: worker.code or 0, default=None)

    # ends

    def _conclude(self, codes: list[int]) -> int:
        """All workers have ended as they should: done, or stopped."""
        if self.scheduler is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.scheduler.process.wait(_SCHEDULER)
        if not any(codes):
            return 0
        number = signal.SIGINT if self._is_interrupt(codes) else signal.SIGTERM
        self._say(f"stopped by {number.name}; resume with: {self.job.resume_line}")
        return 128 + number

    def _is_interrupt(self, codes: list[int]) -> bool:
        return self.signals[0] == signal.SIGINT if self.signals else _STOPPED[1] not in codes

    def _give_up(self, failed: Watched) -> int:
        """One has failed: the others wait for it and cannot go on."""
        lines, code = failed.last_lines(), failed.code or 0
        what = self._verdict(failed, code, lines)
        self.marks.leave(what)
        self._end_others()
        print(f"--- end of {failed.log}", *lines, "---", sep="\n", file=sys.stderr)
        self._say(f"{what}; log: {failed.log}; resume with: {self.job.resume_line}")
        return 2 if code == 2 else 1

    def _verdict(self, failed: Watched, code: int, lines: list[str]) -> str:
        name = failed.name.replace("_", " ")
        name += f" of {self.job.options.workers}" if failed is not self.scheduler else ""
        if code < 0:
            return f"{name} was killed by {signal.Signals(-code).name}"
        # MindSpore's own log goes on after our last word
        words = [line for line in lines if not _LOGGED.match(line)] or lines or ["it said nothing"]
        said = next((line for line in reversed(words) if line.startswith("ms-eff: ")), words[-1])
        return f"{name} failed with code {code}: {said.strip()[:300]}"

    def _leave(self, told: str) -> int:
        """Another host has given up: this one's workers wait for it in vain."""
        self._end_others()
        self._say(f"{told}; resume with: {self.job.resume_line}")
        return 1

    def _end_others(self) -> None:
        for worker in self.workers:
            worker.ask()
        until = time.monotonic() + _FAREWELL
        while time.monotonic() < until and any(w.code is None for w in self.workers):
            time.sleep(_POLL)

    def _not_saved(self) -> int:
        busy = ", ".join(w.name.replace("_", " ") for w in self.workers if w.code is None)
        why = "a second signal" if len(self.signals) > 1 else f"{self.job.options.grace} s"
        self._say(
            f"stopped, but {busy} had not saved when {why} ended it; "
            f"resume from the last checkpoint with: {self.job.resume_line}"
        )
        return 128 + (self.signals[0] if self.signals else signal.SIGTERM)

    @contextmanager
    def _signals_noted(self) -> Iterator[None]:
        def note(number: int, _frame: object) -> None:
            self.signals.append(number)

        known = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        before = {number: signal.signal(number, note) for number in known}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    @staticmethod
    def _say(line: str) -> None:
        print(f"train.sh: {line}", file=sys.stderr, flush=True)


def _pass_on(log: BinaryIO) -> None:
    """Show what the first worker has written since the last look."""
    new = log.read()
    if new:
        with contextlib.suppress(BrokenPipeError):  # nobody looks: no reason to end the job
            sys.stdout.buffer.write(new)
            sys.stdout.buffer.flush()
