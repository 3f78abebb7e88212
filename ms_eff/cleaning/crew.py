"""Several processes that sift chunks, and give the answers in the order of the chunks."""

from __future__ import annotations

import contextlib
import os
import queue
import subprocess
import sys
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import ms_eff
from ms_eff.cleaning.chunks import Chunk
from ms_eff.cleaning.rules import Rules
from ms_eff.cleaning.settings import CleaningSettings
from ms_eff.cleaning.sift import Sifted, sift
from ms_eff.cleaning.worker import receive, send
from ms_eff.errors import SetupError

__all__ = ["Crew"]

Process = subprocess.Popen[bytes]


class Crew:
    """Sifts chunks in parallel; a context. At most two chunks a worker are held at a time.

    Each worker is a process of its own that knows the rules and nothing else, with a thread here
    that waits for it.

    Args:
        settings: of the rules.
        workers: how many; 1 works in this process.
    """

    def __init__(self, settings: CleaningSettings, workers: int) -> None:
        self.settings, self.workers = settings, workers
        self._processes: list[Process] = []
        self._idle: queue.SimpleQueue[Process] = queue.SimpleQueue()
        self._threads: ThreadPoolExecutor | None = None

    def __enter__(self) -> Crew:
        if self.workers > 1:
            self._threads = ThreadPoolExecutor(self.workers)
            for _ in range(self.workers):
                process = _start(self.settings)
                self._processes.append(process)
                self._idle.put(process)
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._processes:  # also ends the wait of the threads
            process.kill()
        if self._threads:
            self._threads.shutdown(cancel_futures=True)
        for process in self._processes:
            process.wait()
            for pipe in filter(None, (process.stdin, process.stdout)):
                with contextlib.suppress(OSError):  # what was not sent yet has no reader
                    pipe.close()

    def sifted(self, chunks: Iterable[Chunk]) -> Iterator[tuple[Chunk, Sifted]]:
        """Yield each chunk with what stays of it, in order.

        Raises:
            SetupError: a worker ended; the system may have run out of memory.
        """
        if self._threads is None:
            rules = Rules(self.settings)
            for chunk in chunks:
                yield chunk, sift(chunk.data, rules)
            return
        waiting: deque[tuple[Chunk, Future[Sifted]]] = deque()
        for chunk in chunks:
            waiting.append((chunk, self._threads.submit(self._ask, chunk.data)))
            if len(waiting) == 2 * self.workers:
                first, answer = waiting.popleft()
                yield first, answer.result()
        while waiting:
            first, answer = waiting.popleft()
            yield first, answer.result()

    def _ask(self, data: bytes) -> Sifted:
        process = self._idle.get()
        try:
            answer = _answer(process, data)
        finally:
            self._idle.put(process)
        if answer is None:
            raise SetupError(
                f"clean: a worker ended (status {process.wait()}); if memory ran out, give fewer "
                "--workers or a smaller --max-line; the same command goes on where this one stopped"
            )
        return Sifted.from_bytes(answer)


def _start(settings: CleaningSettings) -> Process:
    root = str(Path(ms_eff.__file__).parents[1])
    found = os.environ.get("PYTHONPATH")
    variables = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, (root, found))),
        "OPENBLAS_NUM_THREADS": "1",  # NumPy only counts here; its threads would take memory
    }
    # -P: a file of the working directory must not stand in for a module
    command = [sys.executable, "-P", "-m", "ms_eff.cleaning.worker", settings.model_dump_json()]
    return subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=variables,
        start_new_session=True,  # a terminal's Ctrl-C is for the parent, which ends its workers
    )


def _answer(process: Process, data: bytes) -> bytes | None:
    if process.stdin is None or process.stdout is None:
        return None
    try:
        send(process.stdin, data)
        return receive(process.stdout)
    except OSError:  # it is gone
        return None
