"""What goes from block to block of a deep network, on disk, and how far it is; NumPy only."""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path
from typing import Any

import numpy as np

from ms_eff.errors import CheckpointError, SetupError
from ms_eff.files import read_json, replacing

__all__ = ["BlockStates"]


class BlockStates:
    """The inputs of every block, and behind them gradients, which take turns in two places.

    A pass reads places that it does not write, so that one which was stopped can be done again.
    Passes are counted through: `depth` forward, one through the head, `depth` backward.

    Args:
        path: of the file; how far it is lies beside it, and both are taken up if they are of this
            shape and of these inputs.
        hidden: (n, N, dim) what goes into the first block.
        depth: blocks.

    Attributes:
        done: passes that are done.

    Raises:
        SetupError: there is no room for the file.

    >>> import tempfile
    >>> path, hidden = Path(tempfile.mkdtemp()) / "states", np.ones((1, 2, 3), np.float32)
    >>> states = BlockStates(path, hidden, depth=2)
    >>> states[1][0] = 2 * states[0][0]
    >>> states.passed(1)
    >>> again = BlockStates(path, hidden, depth=2)
    >>> again.done, again[1][0, 0].tolist()
    (1, [2.0, 2.0, 2.0])
    >>> BlockStates(path, hidden + 1, depth=2).done
    0
    """

    def __init__(self, path: Path, hidden: np.ndarray, depth: int) -> None:
        self.path, self.depth = path, depth
        self._record = path.with_name(f"{path.name}.json")
        shape = (depth + 2, *hidden.shape)
        self._shape, self.done = list(shape), 0
        found = self._found()
        if not found:
            self._record.unlink(missing_ok=True)  # it is not of the file that comes now
            _reserve(path, 4 * int(np.prod(shape)))
        self._places: Any = np.memmap(path, np.float32, "r+", shape=shape)
        if found and np.array_equal(self._places[0], hidden):
            self.done = found
        else:
            self._record.unlink(missing_ok=True)  # likewise, of other inputs
            self._places[0] = hidden

    def __getitem__(self, place: int) -> np.ndarray:
        """Return the (n, N, dim) that go into that block; `depth`: into the head."""
        return self._places[place]

    def outgoing(self, block: int) -> np.ndarray:
        """Return where the gradients at a block's inputs are; `depth`: at the head's.

        The head's go behind all states; the last state is free then, and so is, one pass later,
        the place behind.
        """
        return self._places[self.depth + (self.depth - block + 1) % 2]

    def passed(self, done: int) -> None:
        """Note that so many passes are done, once what they wrote is on disk."""
        self._places.flush()
        self.done = done
        with replacing(self._record) as temporary:
            temporary.write_text(json.dumps({"shape": self._shape, "done": done}))

    def remove(self) -> None:
        """Delete both files."""
        del self._places
        for file in (self._record, self.path):
            file.unlink(missing_ok=True)

    def _found(self) -> int:
        """Return how many passes an earlier call has done; 0 where its files are not whole."""
        with contextlib.suppress(CheckpointError, OSError, KeyError, TypeError):
            record = read_json(self._record, CheckpointError)
            size = 4 * int(np.prod(self._shape))
            if record["shape"] == self._shape and self.path.stat().st_size == size:
                return int(record["done"])
        return 0


def _reserve(path: Path, size: int) -> None:
    """Take the room of a mapped file now: a page without any would end the process, by SIGBUS."""
    try:
        with path.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, size)
    except OSError as error:
        path.unlink(missing_ok=True)
        raise SetupError(
            f"{path}: no room for {size / 1e9:.1f} GB that go from block to block: "
            f"{error.strerror}; free space, choose another folder, or take fewer tokens"
        ) from error
