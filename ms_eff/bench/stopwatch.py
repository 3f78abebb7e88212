"""The seconds of some work, over all the calls that it takes."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path
from types import TracebackType

from ms_eff.errors import CheckpointError
from ms_eff.files import read_json, replacing

__all__ = ["Stopwatch"]


class Stopwatch:
    """Runs while its block does, and goes on in a later process from where it was.

    Args:
        path: JSON file that keeps the seconds; its folder is made.
        every: seconds after which they are written again, so that work which is killed counts too.

    Raises:
        CheckpointError: the file is damaged, or cannot be written.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "seconds.json"
    >>> with Stopwatch(path) as watch:
    ...     first = watch.lap("a")
    >>> with Stopwatch(path) as watch:
    ...     (watch.lap("a") == first, watch.lap("b") > first)
    (True, True)
    """

    def __init__(self, path: Path, every: float = 20.0) -> None:
        self.path, self.every = path, every
        self._before, self._laps, self._start = 0.0, dict[str, float](), 0.0
        self._lock, self._done = threading.Lock(), threading.Event()
        if path.exists():
            found = read_json(path, CheckpointError)
            self._before, self._laps = float(found["seconds"]), dict(found["laps"])

    def __enter__(self) -> Stopwatch:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._start = time.monotonic()
        self._done.clear()
        self._writer = threading.Thread(target=self._keep_writing, name="seconds", daemon=True)
        self._writer.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._done.set()
        self._writer.join()
        self._write()
        self._before, self._start = self.seconds, 0.0

    @property
    def seconds(self) -> float:
        """How long it ran so far, in all calls."""
        return self._before + (time.monotonic() - self._start if self._start else 0.0)

    def lap(self, name: str) -> float:
        """Return the seconds at which that name was first called."""
        if name not in self._laps:
            self._laps[name] = self.seconds
            self._write()
        return self._laps[name]

    def _keep_writing(self) -> None:
        while not self._done.wait(self.every):
            self._write()

    def _write(self) -> None:
        with self._lock, replacing(self.path) as temporary:
            content = {"seconds": self.seconds, "laps": self._laps}
            temporary.write_text(json.dumps(content), encoding="utf-8")
