"""Files that are either whole or not there."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ms_eff.errors import CheckpointError, UserError

__all__ = ["flush", "read_json", "replacing"]


@contextmanager
def replacing(
    path: str | Path, error: type[UserError] = CheckpointError, *, parents: bool = False
) -> Iterator[Path]:
    """Give a temporary name to write to; rename it to `path` when the block ends well.

    The file is on disk before it gets its name, and an existing file stays until then. The
    temporary name keeps the suffix and lies beside `path`; it is gone after a failure.

    Args:
        path: final name; its folder must exist, or `parents` be given.
        error: what to raise where the system refuses (no permission, disk full).
        parents: make the folder if it is missing.

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
        if parents:
            path.parent.mkdir(parents=True, exist_ok=True)
        temporary.touch()  # a folder that is missing or read-only shows here, before any work
        yield temporary
        flush(temporary)
        os.replace(temporary, path)
        flush(path.parent)
    except OSError as failure:
        in_the_way = isinstance(failure, FileExistsError)  # a file where the folder should be
        reason = "Not a directory" if in_the_way else failure.strerror or str(failure)
        raise error(f"{path}: cannot be written: {reason}; nothing was changed") from failure
    finally:
        with contextlib.suppress(OSError):  # what refused to write it may refuse this too
            temporary.unlink(missing_ok=True)


def read_json(path: str | Path, error: type[UserError]) -> Any:
    """Return what a JSON file holds; raises `error` in one line that names the file."""
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as failure:
        raise error(f"{path}: cannot be read: {failure.strerror}") from failure
    except (ValueError, RecursionError) as failure:  # nested without an end
        raise error(f"{path}: not valid JSON: {failure}") from failure


def flush(path: Path) -> None:
    """Wait until a file, or a folder's list of names, is on disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
