"""Watch over the processes of a job: the first that fails is named, none is left behind.

MindSpore's `msrun` kills all workers as soon as one ends with another code than 0, so that a job
that is asked to stop may be killed while it saves; and SIGTERM ends `msrun` alone. Hence this.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import BinaryIO

from ms_eff.errors import SetupError
from ms_eff.launch.beats import Beats
from ms_eff.launch.job import Job
from ms_eff.launch.marks import Marks
from ms_eff.launch.process import Guard, Watched, started
from ms_eff.launch.pulses import Pulses

__all__ = ["Supervisor"]

_POLL = 0.1  # seconds between two looks
_FAREWELL = 10.0  # seconds that the others have once one has failed: a checkpoint in work is kept
_SCHEDULER = 30.0  # seconds that the scheduler has for other hosts' workers once ours are done
_LISTEN = 8.0  # seconds in which every other host gives a sign of life
_STOPPED = (128 + signal.SIGINT, 128 + signal.SIGTERM)
_LOGGED = re.compile(r"\[(DEBUG|INFO|WARNING|ERROR|CRITICAL)\] ")


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
        self.limit = float(job.options.grace)  # seconds that saving may take
        o = job.options
        self.marks = Marks(job.output, o.node_rank, o.nnodes)
        self.beats = Beats(job)
        self.pulses = Pulses({rank: job.pulse(rank) for rank in job.ranks}, float(o.hang))

    def run(self) -> int:
        """Start everything, wait, clean up; return the exit code.

        Raises:
            SetupError: logs cannot be written.
        """
        self._prepare_logs()
        guard = Guard(self.job.options.grace)
        with self._signals_noted():
            try:
                self._start(guard)
                with self.workers[0].log.open("rb") as log:
                    return self._watch(log)
            finally:
                for watched in [*self.workers, *filter(None, [self.scheduler])]:
                    watched.end()
                guard.dismiss()
                self.beats.end()

    def _prepare_logs(self) -> None:
        logs = self.job.logs
        try:
            logs.mkdir(parents=True, exist_ok=True)
            for rank in self.job.ranks:
                self.job.log(f"rank_{rank}").touch()
        except OSError as error:
            raise SetupError(
                f"--log-dir {logs}: cannot be written: {error.strerror}; give another folder"
            ) from error

    def _start(self, guard: Guard) -> None:
        def start(name: str, own: dict[str, str]) -> Watched:
            environment = {**os.environ, **self.job.environment(), **own}
            return started(name, self.job.process, environment, self.job.log(name), guard)

        if self.job.has_scheduler:
            self.scheduler = start("scheduler", self.job.of_scheduler())
        for rank in self.job.ranks:
            self.workers.append(start(f"rank_{rank}", self.job.of_worker(rank)))

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
                deadline = time.monotonic() + self.limit
            if deadline and self.limit > _FAREWELL and self._saves_in_vain():
                self.limit, deadline = _FAREWELL, time.monotonic() + _FAREWELL
            if len(self.signals) > 1 or (deadline and time.monotonic() > deadline):
                return self._not_saved()
            lost = self.beats.look() or self.pulses.look(self._pids())
            told = self.marks.of_others()
            if lost or told:
                return self._leave(lost, told)
            time.sleep(_POLL)

    def _saves_in_vain(self) -> bool:
        """Tell whether a worker has ended outside of training: none can save without the others."""
        return any(worker.code is not None and not worker.saved for worker in self.workers)

    def _first_failed(self, asked: bool) -> Watched | None:
        """Return the process that brings the job down; of several, one that a signal ended."""
        fine = (None, 0, *_STOPPED, *((-signal.SIGTERM,) if asked else ()))
        bad = [worker for worker in self.workers if worker.code not in fine]
        all_run = all(worker.code is None for worker in self.workers)
        if all_run and self.scheduler and self.scheduler.code not in fine:
            bad = [self.scheduler]
        return min(bad, key=lambda worker: worker.code or 0, default=None)

    def _pids(self) -> dict[int, int]:
        return {
            rank: worker.process.pid
            for rank, worker in zip(self.job.ranks, self.workers, strict=True)
            if worker.code is None
        }

    # ends

    def _conclude(self, codes: list[int]) -> int:
        """All workers have ended as they should: done, or stopped."""
        stopped, saved = any(codes), any(worker.saved for worker in self.workers)
        number = signal.SIGINT if self._is_interrupt(codes) else signal.SIGTERM
        if stopped and not saved:  # other hosts' workers wait for ours
            self.marks.leave(f"stopped by {number.name}")
        elif self.job.options.nnodes > 1 and self.scheduler is not None:
            scheduler, asked = self.scheduler, len(self.signals)
            self._wait_while(
                lambda: scheduler.code is None and len(self.signals) == asked, _SCHEDULER
            )
        if not stopped:
            return 0
        how = "" if saved else ", when there was nothing to save"
        self._say(f"train.sh: stopped by {number.name}{how}; resume with: {self.job.resume_line}")
        return 128 + number

    def _is_interrupt(self, codes: list[int]) -> bool:
        return self.signals[0] == signal.SIGINT if self.signals else _STOPPED[1] not in codes

    def _give_up(self, failed: Watched) -> int:
        """One has failed: the others wait for it and cannot go on."""
        lines, code = failed.last_lines(), failed.code or 0
        what = self._verdict(failed, code, lines)
        self.marks.leave(what)
        before, since = self.beats.taken(), time.monotonic()
        self._end_others()
        if code not in (2, -signal.SIGKILL):  # those two came about here
            what = self._with_cause(what, before, since)
        self._say(
            *(f"--- end of {failed.log}", *lines, "---"),
            f"train.sh: {what}; log: {failed.log}; resume with: {self.job.resume_line}",
        )
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

    def _with_cause(self, what: str, before: dict[int, str], since: float) -> str:
        """Return the verdict behind what is known of other hosts: ours may just follow from it."""
        silent = self._silent(before, since)
        told = self.marks.of_others(now=True)
        absent = None if silent or told else self.beats.absent()
        found = "; ".join(filter(None, (silent, told, what, absent)))
        if silent or absent:
            self.marks.leave(found)
        return found

    def _leave(self, lost: str | None, told: str | None) -> int:
        """One waits in vain: another host is gone or has given up, or a worker hangs."""
        if lost:
            self.marks.leave(lost)
        before, since = self.beats.taken(), time.monotonic()
        self._end_others()
        why = "; ".join(filter(None, (lost or self._silent(before, since), told)))
        self._say(f"train.sh: {why}; resume with: {self.job.resume_line}")
        return 1

    def _silent(self, before: dict[int, str], since: float) -> str | None:
        """Give every other host the time for a sign; return which gave none since `before`."""
        left = since + _LISTEN - time.monotonic()
        self._wait_while(lambda: self.beats.silent(before) is not None, left)
        return self.beats.silent(before)

    def _end_others(self) -> None:
        for worker in self.workers:
            worker.ask()
        self._wait_while(lambda: any(w.code is None for w in self.workers), _FAREWELL)

    def _wait_while(self, busy: Callable[[], bool], seconds: float) -> None:
        until = time.monotonic() + seconds
        while busy() and time.monotonic() < until:
            self.beats.look()
            time.sleep(_POLL)

    def _not_saved(self) -> int:
        busy = ", ".join(w.name.replace("_", " ") for w in self.workers if w.code is None)
        why = "a second signal" if len(self.signals) > 1 else f"{self.limit:.0f} s"
        self.marks.leave(f"stopped, but {busy} had not saved")
        self._say(
            f"train.sh: stopped, but {busy} had not saved when {why} ended it; "
            f"resume from the last checkpoint with: {self.job.resume_line}"
        )
        return 128 + (self.signals[0] if self.signals else signal.SIGTERM)

    @contextmanager
    def _signals_noted(self) -> Iterator[None]:
        def note(number: int, _frame: object) -> None:
            self.signals.append(number)

        known = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]
        if signal.getsignal(signal.SIGHUP) == signal.SIG_IGN:  # by nohup: the job is to go on
            known.remove(signal.SIGHUP)
        before = {number: signal.signal(number, note) for number in known}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    @staticmethod
    def _say(*lines: str) -> None:
        with contextlib.suppress(OSError):  # a terminal or a pipe that was closed
            print(*lines, sep="\n", file=sys.stderr, flush=True)


def _pass_on(log: BinaryIO) -> None:
    """Show what the first worker has written since the last look."""
    new = log.read()
    if new:
        with contextlib.suppress(OSError):  # a closed terminal or pipe is no reason to end the job
            sys.stdout.buffer.write(new)
            sys.stdout.buffer.flush()
