"""Ctrl-C and SIGTERM as a flag that the loop reads between steps, and one run per folder."""

from __future__ import annotations

import _thread
import contextlib
import fcntl
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import NoReturn

from ms_eff.errors import SetupError

__all__ = ["Interrupted", "StopFlag", "Stopped", "lock_folder", "own_signals", "raising_stop"]

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupted(Exception):  # noqa: N818 (not an error: the run was asked to stop, and saved)
    """Training was asked to stop; it has saved. `code` is the exit status (130 or 143)."""

    def __init__(self, signal_number: int, saved: Path) -> None:
        super().__init__(f"stopped by {signal.Signals(signal_number).name}; saved {saved}")
        self.code = 128 + signal_number
        self.saved = saved


class Stopped(BaseException):
    """Asked to stop outside of training, where files are whole or not there; as `Interrupted`."""

    def __init__(self, signal_number: int) -> None:
        super().__init__(f"stopped by {signal.Signals(signal_number).name}")
        self.code = 128 + signal_number


def own_signals() -> None:
    """Let only Python see SIGINT; call it once, before MindSpore starts its threads.

    Until `raising_stop`, both signals end the process at once: an exception that comes out of the
    middle of MindSpore's import aborts the interpreter.

    While a graph compiles or runs, MindSpore has a handler of its own that turns SIGINT into
    SIGTERM. Threads inherit the signal mask, so with SIGINT blocked here nobody takes it but one
    thread that waits for it and hands it to Python's handler in the main thread.
    """
    for number in _SIGNALS:
        signal.signal(number, _quit)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})

    def wait() -> None:
        while True:
            signal.sigwait({signal.SIGINT})
            _thread.interrupt_main(signal.SIGINT)

    threading.Thread(target=wait, name="ctrl-c", daemon=True).start()


@contextmanager
def raising_stop() -> Iterator[None]:
    """Raise `Stopped` where SIGINT or SIGTERM comes in the block; a second one ends at once."""
    received: list[int] = []

    def stop(number: int, _frame: FrameType | None) -> NoReturn:
        received.append(number)
        for known in _SIGNALS:
            signal.signal(known, _quit)
        raise Stopped(number)

    before = {number: signal.signal(number, stop) for number in _SIGNALS}
    try:
        yield
    except Exception as error:
        if received:  # MindSpore's compiler turns what is raised below it into its own errors
            raise Stopped(received[0]) from error
        raise
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _quit(number: int, _frame: FrameType | None) -> NoReturn:
    os.write(2, f"ms-eff: stopped by {signal.Signals(number).name}\n".encode())
    os._exit(128 + number)


class StopFlag:
    """Remembers the first SIGINT or SIGTERM while it is in force; a second one acts as usual."""

    def __init__(self) -> None:
        self.received: int | None = None

    def __enter__(self) -> StopFlag:
        self._before = {n: signal.getsignal(n) for n in _SIGNALS}
        self.arm()
        return self

    def arm(self) -> None:
        """Take the signals (again): a MindSpore graph leaves its own SIGINT handler behind."""
        if self.received is None:
            for number in self._before:
                signal.signal(number, self._note)

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, _frame: FrameType | None) -> None:
        self.received = number
        for known, handler in self._before.items():  # the impatient can still end it at once
            signal.signal(known, handler)


@contextmanager
def lock_folder(folder: Path, name: str = ".lock", key: str = "output=") -> Iterator[None]:
    """Hold a run's output folder; a second run in it is refused. The lock dies with its process.

    Args:
        folder: to hold.
        name: of the file that is locked.
        key: what a user writes before the folder, for the errors: `output=`, or `--work `.

    Raises:
        SetupError: the folder cannot be made or written, or another run holds it.
    """
    where = f"{key.replace('=', ' = ')}{folder}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(folder / name, os.O_CREAT | os.O_RDWR, 0o644)
    except OSError as error:
        raise SetupError(
            f"{where}: cannot be written: {error.strerror}; choose another {key}FOLDER"
        ) from error
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(handle)
        raise SetupError(
            f"{where}: another run is writing here; wait for it or choose another {key}FOLDER"
        ) from error
    try:
        yield
    finally:
        with contextlib.suppress(OSError):  # a run that came to nothing leaves nothing behind
            if [entry.name for entry in folder.iterdir()] == [name]:
                (folder / name).unlink()
                folder.rmdir()
        os.close(handle)
