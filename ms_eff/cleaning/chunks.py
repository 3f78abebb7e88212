"""Inputs cut into chunks at line ends; every chunk says where the next one begins."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ms_eff.cleaning.sources import Reader, Source, opened

__all__ = ["CHUNK", "Chunk", "Place", "chunk_size", "chunks"]

CHUNK = 2**22
"""Bytes of a chunk: some ten thousand lines, so that what is done per chunk costs little."""


@dataclass(frozen=True)
class Place:
    """Where a chunk begins: which input, and how many bytes into its unpacked text."""

    source: int = 0
    offset: int = 0


@dataclass(frozen=True)
class Chunk:
    """Whole lines of one input.

    Attributes:
        data: the lines; only the last one of an input may lack its newline. Empty where `size`
            bytes hold no line end: such a line is passed over without being held.
        passed: bytes that were passed over instead.
        next: where the next chunk begins.
        done: bytes of the stored inputs that were read so far, for the progress.
    """

    data: bytes
    passed: int
    next: Place
    done: int


def chunk_size(max_line: int) -> int:
    """Return how many bytes a chunk may have, so that it holds any line that is not too long.

    >>> chunk_size(100) == CHUNK, chunk_size(2**24)
    (True, 16777218)
    """
    return max(CHUNK, max_line + 2)


def chunks(sources: Sequence[Source], start: Place, size: int) -> Iterator[Chunk]:
    """Yield the inputs from a place on.

    A chunk is the longest piece of at most `size` bytes that ends with a line; so where it begins
    says where it ends, whoever reads it.

    Args:
        sources: the inputs.
        start: where an earlier chunk said that the next one begins.
        size: bytes of a chunk; longer lines are passed over.

    Raises:
        DataError: an input cannot be read.
    """
    before = sum(source.size for source in sources[: start.source])
    for index in range(start.source, len(sources)):
        source = sources[index]
        with opened(source) as reader:
            offset = start.offset if index == start.source else 0
            reader.skip(offset)
            for data, passed in _pieces(reader, size):
                offset += len(data) + passed
                yield Chunk(data, passed, Place(index, offset), before + reader.done)
        before += source.size


def _pieces(reader: Reader, size: int) -> Iterator[tuple[bytes, int]]:
    """Yield whole lines, or nothing and the length of a line that was passed over."""
    rest = b""
    while block := rest + reader.read(size - len(rest)):
        cut = len(block) if len(block) < size else block.rfind(b"\n") + 1
        if cut:
            yield block[:cut], 0
            rest = block[cut:]
        else:
            passed, rest = _to_line_end(reader, size)
            yield b"", len(block) + passed


def _to_line_end(reader: Reader, size: int) -> tuple[int, bytes]:
    """Return how many bytes of the line were left, its newline counted, and what comes after it."""
    passed = 0
    while block := reader.read(min(size, 2**20)):
        cut = block.find(b"\n") + 1
        if cut:
            return passed + cut, block[cut:]
        passed += len(block)
    return passed, b""
