"""Signs of life of a job's hosts, files in the shared output: one that is lost whole is named.

A host that is switched off, or cut off, leaves no mark (`ms_eff.launch.marks`). What its absence
does to the others' workers, MindSpore tells by whichever of them notices first.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable

from ms_eff.launch.job import Job

__all__ = ["Beats"]

_EVERY = 3.0  # seconds between two signs: the folder may be a network's
_SILENT = 45.0  # seconds without one until a host is lost: a network may stall for a while
_ENDED = "ended"


class Beats:
    """What this host writes of itself, and has read of the others; one host alone does neither.

    Files that lie there when a job begins are of an earlier one; a host is there once its file has
    changed. Times are this host's own: clocks of hosts differ.

    Args:
        job: on this host.
    """

    def __init__(self, job: Job) -> None:
        o = job.options
        self._nproc, self._own = o.nproc, o.node_rank
        hosts = range(o.nnodes) if o.nnodes > 1 else range(0)
        self._files = {host: job.output / f".host-{host}.txt" for host in hosts}
        self._call = f"--nnodes {o.nnodes} --nproc {o.nproc} --master-port {job.port}"
        self._first = {host: self._read(host) for host in hosts}
        self._known = dict(self._first)
        self._heard: dict[int, float] = {}
        self._next = self._last = 0.0

    def look(self) -> str | None:
        """Give a sign and listen, if it is time; return what is wrong with another host.

        Host 0 listens to all and the others to host 0: n files a round instead of n x n.
        """
        if not self._files or time.monotonic() < self._next:
            return None
        self._write(self._call)
        wrong = self._listen(set(self._files) - {self._own} if self._own == 0 else {0})
        now = time.monotonic()
        if now - self._last > 3 * _EVERY:  # this host, or the disk, stood still itself
            self._heard = dict.fromkeys(self._heard, now)
        self._last, self._next = now, now + _EVERY
        silent = [host for host, heard in self._heard.items() if now - heard > _SILENT]
        if silent:
            return f"{self._names(silent)} gave no sign of life for {_SILENT:.0f} s"
        return wrong

    def end(self) -> None:
        """Say that this host ends in an orderly way."""
        if self._files:
            self._write(_ENDED)

    def taken(self) -> dict[int, str]:
        """Return what the other hosts' files say now, for `silent`."""
        return {host: self._read(host) for host in self._files if host != self._own}

    def silent(self, before: dict[int, str]) -> str | None:
        """Return which hosts were there and have given no sign since `before`, some seconds ago."""
        found = [
            host
            for host, text in self.taken().items()
            if text == before[host] != self._first[host] and not text.endswith(_ENDED)
        ]
        return f"{self._names(found)} fell silent" if found else None

    def absent(self) -> str | None:
        """Return which hosts have given no sign since this one began."""
        found = [host for host, text in self.taken().items() if text == self._first[host]]
        return f"nothing was heard of {self._names(found)}" if found else None

    def _listen(self, hosts: Iterable[int]) -> str | None:
        wrong = None
        for host in hosts:
            text = self._read(host)
            if text in ("", self._known[host]):
                continue
            self._known[host], self._heard[host] = text, time.monotonic()
            if text.endswith(_ENDED):
                del self._heard[host]
            elif text.partition(" ")[2] != self._call:
                wrong = f"host {host} was started with {text.partition(' ')[2]}, host "
                wrong += f"{self._own} with {self._call}; these have to be the same"
        return wrong

    def _names(self, hosts: list[int]) -> str:
        found = []
        for host in hosts:
            first, last = host * self._nproc, (host + 1) * self._nproc - 1
            ranks = f"rank {first}" if first == last else f"ranks {first} to {last}"
            found.append(f"host {host} ({ranks})")
        return ", ".join(found)

    def _read(self, host: int) -> str:
        with contextlib.suppress(OSError, UnicodeDecodeError):
            return self._files[host].read_text(encoding="utf-8")
        return ""

    def _write(self, what: str) -> None:
        path = self._files[self._own]
        with contextlib.suppress(OSError):  # a full disk is no reason to end a job
            path.parent.mkdir(parents=True, exist_ok=True)
            new = path.with_suffix(".new")
            new.write_text(f"{time.time_ns()} {what}", encoding="utf-8")
            new.replace(path)  # nobody reads half of it
