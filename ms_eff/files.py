"""Files that are either whole or not there."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ms_eff.errors import CheckpointError, UserError

__all__ = ["flush", "read_json", "replacing"]


@contextmanager
def replacing(path: str | Path, error: type[UserError] = CheckpointError) -> Iterator[Path]:
    """Give a temporary name to write to; rename it to `path` when the block ends well.

    The file is on disk before it gets its name, and an existing file stays until then. The
    temporary name keeps the suffix and lies beside `path`; it is gone after a failure.

    Args:
        path: final name; its folder must exist.
        error: what to raise where the system refuses (no permission, disk full).

    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> with replacing(folder / "a.txt") as temporary:
    ...     _ = temporary.write_text("whole")
    >>> [p.name for p in folder.iterdir()]
    ['a.txt']
    """
    path = Path(path)
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.partial{path.suffix}")
    try:
        temporary.touch()  # a folder that is missing or read-only shows here, before any work
        yield temporary
        flush(temporary)
        os.replace(temporary, path)
        flush(path.parent)
    except OSError as failure:
        reason = failure.strerror or str(failure)
        raise error(f"{path}: cannot be written: {reason}; nothing was changed") from failure
    finally:
        temporary.unlink(missing_ok=True)


def read_json(path: str | Path, error: type[UserError]) -> Any:
    """Return what a JSON file holds; raises `error` in one line that names the file."""
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as failure:
        raise error(f"{path}: cannot be read: {failure.strerror}") from failure
    except ValueError as failure:
        raise error(f"{path}: not valid JSON: {failure}") from failure


def flush(path: Path) -> None:
    """Wait until a file, or a folder's list of names, is on disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
