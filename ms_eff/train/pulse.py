"""A sign of life after each step and each batch of an evaluation, for `ms_eff.launch`."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TypeVar

from ms_eff.runtime import PULSE_VARIABLE

__all__ = ["Pulse"]

Item = TypeVar("Item")

_EVERY = 1.0  # seconds: the folder may be a network's


class Pulse:
    """Touches the file that the launcher named, if one did; there is one as long as steps follow.

    What goes on outside of training may take as long as it likes, so the file goes as the context
    is left.
    """

    def __init__(self) -> None:
        named = os.environ.get(PULSE_VARIABLE)
        self._file = Path(named) if named else None
        self._next = 0.0

    def beat(self) -> None:
        """Say that something was finished."""
        if self._file is None or time.monotonic() < self._next:
            return
        self._next = time.monotonic() + _EVERY
        with contextlib.suppress(OSError):  # a full disk is no reason to end a training
            self._file.touch()

    def each(self, items: Iterable[Item]) -> Iterator[Item]:
        """Give the items, with a beat at each."""
        for item in items:
            self.beat()
            yield item

    def __enter__(self) -> Pulse:
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._next = 0.0
            with contextlib.suppress(OSError):
                self._file.unlink(missing_ok=True)
