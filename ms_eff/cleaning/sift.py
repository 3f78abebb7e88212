"""What a worker does to a chunk: the rules on each line, hashes of the keys of those that stay."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

from ms_eff.cleaning.rules import Rules
from ms_eff.cleaning.settings import REASONS

__all__ = ["Sifted", "sift"]


@dataclass(frozen=True)
class Sifted:
    """What stays of a chunk, duplicates still in it.

    Attributes:
        read: lines of the chunk.
        dropped: lines dropped, by reason.
        text: the lines that stay, byte for byte.
        sizes: (n,) int64 bytes of each, with its newline.
        keys: (n,) uint64 hash of each line's key.
    """

    read: int
    dropped: dict[str, int]
    text: bytes
    sizes: NDArray[np.int64]
    keys: NDArray[np.uint64]

    def only(self, wanted: NDArray[np.bool_]) -> bytes:
        """Return the lines that are wanted, (n,) bool, as bytes."""
        if wanted.all():
            return self.text
        letters = np.frombuffer(self.text, np.uint8)
        return letters[np.repeat(wanted, self.sizes)].tobytes()

    def to_bytes(self) -> bytes:
        """Return everything in one piece, for a pipe."""
        counts = [self.read, *(self.dropped[reason] for reason in REASONS), len(self.sizes)]
        head = np.array(counts, np.int64)
        return b"".join((head.tobytes(), self.sizes.tobytes(), self.keys.tobytes(), self.text))

    @classmethod
    def from_bytes(cls, data: bytes) -> Sifted:
        """Return what `to_bytes` made a piece of."""
        width = len(REASONS) + 2
        read, *dropped, count = np.frombuffer(data, np.int64, width).tolist()
        sizes = np.frombuffer(data, np.int64, count, 8 * width)
        keys = np.frombuffer(data, np.uint64, count, 8 * (width + count))
        text = data[8 * (width + 2 * count) :]
        return cls(read, dict(zip(REASONS, dropped, strict=True)), text, sizes, keys)


def sift(data: bytes, rules: Rules) -> Sifted:
    r"""Judge all lines of a chunk.

    >>> from ms_eff.cleaning.settings import CleaningSettings
    >>> found = sift(b"one two three four five\nno\n<p>a b c d e", Rules(CleaningSettings()))
    >>> found.text, found.read, found.dropped["short"], found.dropped["html"]
    (b'one two three four five\n', 3, 1, 1)
    """
    dropped = dict.fromkeys(REASONS, 0)
    stay, keys = [], []
    read = 0
    for line in _lines(data):
        read += 1
        reason, key = rules.judge(line)
        if reason is None:
            stay.append(line)
            keys.append(blake2b(key, digest_size=8).digest())
        else:
            dropped[reason] += 1
    sizes = np.fromiter(map(len, stay), np.int64, len(stay)) + 1
    text = b"\n".join(stay)
    if stay:
        # the chunk's last line may have no newline, and only if it stayed is it the last of `stay`
        if data.endswith(b"\n") or reason is not None:
            text += b"\n"
        else:
            sizes[-1] -= 1
    return Sifted(read, dropped, text, sizes, np.frombuffer(b"".join(keys), np.uint64))


def _lines(data: bytes) -> Iterator[bytes]:
    lines = data.split(b"\n")
    if not lines[-1]:  # nothing behind the last newline
        lines.pop()
    return iter(lines)
