"""What is cleaned: files, folders of files, a stream; plain or gzip."""

from __future__ import annotations

import gzip
import io
import os
import select
import stat
import sys
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ms_eff.errors import DataError

__all__ = ["Source", "find_sources", "opened"]

_GZIP = b"\x1f\x8b"  # no UTF-8 begins like this


@dataclass(frozen=True)
class Source:
    """One input.

    Attributes:
        path: of the file; `-` is the standard input.
        size: in bytes as stored; 0 of a stream.
        modified: time of the last change in nanoseconds; 0 of a stream.
        stream: it can be read once only, so that nothing can be taken up.
    """

    path: str
    size: int = 0
    modified: int = 0
    stream: bool = False

    def to_dict(self) -> dict[str, Any]:
        """Return what a later call must find unchanged, as JSON."""
        return {"path": self.path, "size": self.size, "modified": self.modified}


def find_sources(inputs: Sequence[str | Path]) -> list[Source]:
    """Return all inputs in order; a folder stands for its files by name, hidden ones left out.

    Raises:
        DataError: one is missing, a folder holds no file, or `-` is not alone.
    """
    if not inputs:
        raise DataError("clean: no input is named; give a file, a folder, or - for standard input")
    if "-" in map(str, inputs):
        if len(inputs) > 1:
            raise DataError("clean: - (standard input) stands alone; give files, or - only")
        return [Source("-", stream=True)]
    return [source for path in map(Path, inputs) for source in _below(path)]


def _below(path: Path) -> list[Source]:
    if not path.is_dir():
        return [_source(path)]
    inside = sorted(
        p for p in path.rglob("*")
        if p.is_file() and not any(part.startswith(".") for part in p.relative_to(path).parts)
    )  # fmt: skip
    if not inside:
        raise DataError(f"{path}: holds no file to clean; name another folder")
    return [_source(p) for p in inside]


def _source(path: Path) -> Source:
    try:
        found = path.stat()
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from error
    if not stat.S_ISREG(found.st_mode):  # a pipe
        return Source(str(path), stream=True)
    return Source(str(path), found.st_size, found.st_mtime_ns)


class _Patient(io.RawIOBase):
    """A stream that waits in turns, so that Python's signal handlers come in between."""

    def __init__(self, handle: int) -> None:
        super().__init__()
        self._handle = handle

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not select.select([self._handle], [], [], 0.2)[0]:
            pass
        data = os.read(self._handle, len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        if not self.closed:
            os.close(self._handle)
        super().close()


class Reader:
    """The bytes of a source, unpacked.

    Args:
        source: where they come from.
        raw: the opened file.
    """

    def __init__(self, source: Source, raw: io.BufferedReader) -> None:
        self._source, self._raw = source, raw
        packed = raw.peek(2)[:2] == _GZIP
        self._stream: io.BufferedReader | gzip.GzipFile = (
            gzip.GzipFile(fileobj=raw) if packed else raw
        )

    def read(self, size: int) -> bytes:
        """Return so many bytes, fewer only at the end."""
        return self._stream.read(size)

    def skip(self, offset: int) -> None:
        """Go to a place of the unpacked text; of gzip all before it is unpacked again."""
        if offset:
            self._stream.seek(offset)

    @property
    def done(self) -> int:
        """How many of the source's `size` bytes were read."""
        return 0 if self._source.stream else self._raw.tell()


@contextmanager
def opened(source: Source) -> Iterator[Reader]:
    """Open a source.

    Raises:
        DataError: it cannot be read, or is damaged gzip; also for what the block reads.
    """
    try:
        with _open(source) as raw:
            yield Reader(source, raw)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise DataError(f"{source.path}: damaged gzip: {error}; pack it again") from error
    except OSError as error:
        raise DataError(f"{source.path}: cannot be read: {error.strerror or error}") from error


def _open(source: Source) -> io.BufferedReader:
    if not source.stream:
        return open(source.path, "rb")
    # a descriptor of our own: the standard input is not ours to close
    standard = source.path == "-"
    handle = os.dup(sys.stdin.fileno()) if standard else os.open(source.path, os.O_RDONLY)
    return io.BufferedReader(_Patient(handle), 2**16)
