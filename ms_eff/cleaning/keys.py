"""A growing set of 64-bit keys: which of these have been seen before?"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["LOAD", "KeySet"]

Keys = NDArray[np.uint64]
LOAD = 0.7
"""A table grows before more than this share of its slots is taken."""
_GROWTH = 1.5
_BITS = 6  # 64 tables: while one grows, the other 63 are not held twice
_STARTS = np.arange(1, 1 << _BITS, dtype=np.uint64) << np.uint64(64 - _BITS)


class KeySet:
    """Keys of 8 bytes in open addressing, a batch at a time.

    11 to 17 bytes a key, as full as `LOAD` or just grown: 332 million different lines take 3.8 to
    5.7 GB. Two lines of different content share one of 64 bits' keys with a probability below
    n^2 / 2^65 among n of them: 0.003 that any such line goes lost among 332 million.

    >>> seen = KeySet()
    >>> seen.add(np.array([7, 9, 7], np.uint64)).tolist()
    [True, True, False]
    >>> seen.add(np.array([9, 0], np.uint64)).tolist(), len(seen)
    ([False, True], 3)
    """

    def __init__(self) -> None:
        self._tables = [_Table() for _ in range(1 << _BITS)]

    def __len__(self) -> int:
        return sum(table.count for table in self._tables)

    @property
    def nbytes(self) -> int:
        """Memory that the keys take."""
        return sum(table.slots.nbytes for table in self._tables)

    def add(self, keys: Keys) -> NDArray[np.bool_]:
        """Put keys in; return which were new. Of equal ones the first is new.

        Args:
            keys: (n,) uint64, evenly spread: a hash.

        Returns:
            (n,) bool.
        """
        # an empty slot holds 0, so the key 0 stands as 1
        different, first = np.unique(np.maximum(keys, np.uint64(1)), return_index=True)
        new = np.zeros(len(keys), bool)
        ends = [0, *np.searchsorted(different, _STARTS).tolist(), len(different)]
        for table, begin, end in zip(self._tables, ends, ends[1:], strict=False):
            if begin < end:
                new[first[begin:end]] = table.add(different[begin:end])
        return new


class _Table:
    """The keys of one value of the upper `_BITS` bits."""

    def __init__(self) -> None:
        self.slots = np.zeros(256, np.uint64)
        self.count = 0

    def add(self, keys: Keys) -> NDArray[np.bool_]:
        """Put different keys in; return which were new."""
        size = len(self.slots)
        if self.count + len(keys) > LOAD * size:
            while self.count + len(keys) > LOAD * size:
                size = int(size * _GROWTH)
            held = self.slots[self.slots != 0]
            self.slots = np.zeros(size, np.uint64)
            _insert(self.slots, held)
        new = _insert(self.slots, keys)
        self.count += int(new.sum())
        return new


def _insert(slots: Keys, keys: Keys) -> NDArray[np.bool_]:
    """Linear probing of all keys at once; return which were not there.

    Where several claim one empty slot, the last one written has it and the others go on.
    """
    # 32 of the bits that the tables are not told apart by, scaled to the table's size
    share = (keys << np.uint64(_BITS)) >> np.uint64(32)
    at = ((share * np.uint64(len(slots))) >> np.uint64(32)).astype(np.int64)
    new = np.zeros(len(keys), bool)
    left = np.arange(len(keys))
    while len(left):
        place, wanted = at[left], keys[left]
        empty = slots[place] == 0
        slots[place[empty]] = wanted[empty]
        found = slots[place] == wanted
        new[left[found & empty]] = True
        left = left[~found]
        at[left] = (at[left] + 1) % len(slots)
    return new
