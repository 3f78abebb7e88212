"""Clean lines made dirty on purpose, every kind of dirt counted: what cleaning has to find."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass

import numpy as np

from ms_eff.cleaning.keys import KeySet
from ms_eff.cleaning.rules import Rules
from ms_eff.cleaning.settings import CleaningSettings
from ms_eff.cleaning.sift import sift

__all__ = ["Dirt", "clean_sentences", "dirty", "varied"]

_SENTENCE_END = re.compile(rb"(?<=[.!?]) +")
_TAGS = (
    (b'<p class="text">', b"</p>"),
    (b"", b"<br/>"),
    (b'<a href="page.html">', b"</a>"),
    (b"<div><b>", b"</b></div>"),
    (b"", b"</li>"),
)


@dataclass(frozen=True)
class Dirt:
    """How many dirty lines come on a clean one, by the reason that cleaning has for them.

    With all at their defaults, a good half of the lines is dirty, as in the paper's text: 217.6 of
    332.0 million went.
    """

    html: float = 0.3
    duplicate: float = 0.4
    symbols: float = 0.2
    short: float = 0.3
    invalid_utf8: float = 0.02


def clean_sentences(text: bytes) -> list[bytes]:
    r"""Return the sentences of a text that cleaning at its defaults keeps.

    Lines are cut behind `.`, `!` and `?`. A sentence that begins with a symbol alone is left out:
    see `varied`.

    >>> clean_sentences(b"He said so to all of us. No!\nHe said so to all of us.\n")
    [b'He said so to all of us.']
    """
    sentences = b"\n".join(
        sentence for line in text.splitlines() for sentence in _SENTENCE_END.split(line)
    )
    found = sift(sentences, Rules(CleaningSettings()))
    lines = found.only(KeySet().add(found.keys)).split(b"\n")
    return [line for line in lines if _first_word(line)]


def varied(lines: Sequence[bytes], variant: int) -> list[bytes]:
    """Return lines with the variant's number behind the first word: no two variants share a key.

    Args:
        lines: of `clean_sentences`.
        variant: 0 leaves them as they are.

    >>> varied([b"He said so."], 2)
    [b'Hex2 said so.']
    """
    if not variant:
        return list(lines)
    end = b"x%d" % variant
    return [b" ".join((word + end, rest)) for word, _, rest in (s.partition(b" ") for s in lines)]


def dirty(
    lines: Sequence[bytes], seed: int | tuple[int, ...], dirt: Dirt | None = None
) -> tuple[list[bytes], dict[str, int]]:
    """Return lines with dirty ones between them, in places drawn by the seed.

    Each dirty line is made of one of the lines; a duplicate comes somewhere behind its original.

    Args:
        lines: without newlines, such that cleaning keeps them all.
        seed: of `numpy.random.default_rng`.
        dirt: how much of each kind.

    Returns:
        The lines, and how many cleaning at its defaults will drop for each reason.

    >>> found, counts = dirty([b"one two three four five"] , 0, Dirt(1, 0, 0, 0, 0))
    >>> counts["html"], len(found)
    (1, 2)
    """
    rng = np.random.default_rng(seed)
    counts = {kind: round(share * len(lines)) for kind, share in asdict(dirt or Dirt()).items()}
    behind: dict[int, list[bytes]] = {}
    for kind, count in counts.items():
        for turn, index in enumerate(rng.integers(len(lines), size=count).tolist()):
            place = int(rng.integers(index, len(lines)))
            behind.setdefault(place, []).append(_spoiled(lines[index], kind, turn))
    return list(_mixed(lines, behind)), counts


def _mixed(lines: Sequence[bytes], behind: dict[int, list[bytes]]) -> Iterator[bytes]:
    for index, line in enumerate(lines):
        yield line
        yield from behind.get(index, ())


def _spoiled(line: bytes, kind: str, turn: int) -> bytes:
    """Return a line that goes for that reason and for none that is asked before it."""
    if kind == "html":
        before, after = _TAGS[turn % len(_TAGS)]
        return before + line + after
    if kind == "duplicate":  # every other one differs in symbols, which the key does not see
        return line.replace(b",", b";").replace(b".", b"!") if turn % 2 else line
    if kind == "symbols":
        return line + b" " + b"=" * (len(line) // 4 + 1)
    if kind == "short":
        return b" ".join(line.split()[:2])
    return line + b"\xff"


def _first_word(line: bytes) -> bool:
    """Tell whether the first word has a letter or digit."""
    return any(c.isalnum() for c in line.partition(b" ")[0].decode())
