"""A process that sifts the chunks it is sent: `python -m ms_eff.cleaning.worker SETTINGS`.

Chunks come through standard input, answers go through standard output, each behind its length in
8 bytes. It ends with its input, so that a parent that was killed leaves no process behind.
"""

from __future__ import annotations

import os
import signal
import sys
from typing import IO

from ms_eff.cleaning.rules import Rules
from ms_eff.cleaning.settings import CleaningSettings
from ms_eff.cleaning.sift import sift

__all__ = ["receive", "send", "serve"]


def send(stream: IO[bytes], data: bytes) -> None:
    """Write one piece of data behind its length."""
    stream.write(len(data).to_bytes(8, "little"))
    stream.write(data)
    stream.flush()


def receive(stream: IO[bytes]) -> bytes | None:
    """Return the next piece of data; None if the other side is gone.

    >>> import io
    >>> pipe = io.BytesIO()
    >>> send(pipe, b"some lines")
    >>> pipe.seek(0), receive(pipe), receive(pipe)
    (0, b'some lines', None)
    """
    head = stream.read(8)
    size = int.from_bytes(head, "little")
    data = stream.read(size) if len(head) == 8 else b""
    return data if len(head) == 8 and len(data) == size else None


def serve(stdin: IO[bytes], stdout: IO[bytes], settings: CleaningSettings) -> None:
    """Answer until the input ends."""
    rules = Rules(settings)
    while (data := receive(stdin)) is not None:
        send(stdout, sift(data, rules).to_bytes())


def main() -> None:
    """Serve the process that started this one; to stop is its decision alone."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    settings = CleaningSettings.model_validate_json(sys.argv[1])
    try:
        serve(sys.stdin.buffer, sys.stdout.buffer, settings)
    except BrokenPipeError:  # the parent is gone; what is still in the buffer has no reader
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    main()
