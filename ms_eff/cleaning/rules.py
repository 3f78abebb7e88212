"""The rules that need one line alone, and the key by which lines are told apart. No state."""

from __future__ import annotations

import re

from ms_eff.cleaning.settings import CleaningSettings
from ms_eff.cleaning.tags import TagFinder

__all__ = ["Rules"]

_BOM = "\ufeff"
# Whitespace, letters and digits as `str.isspace` and `str.isalnum` have them: `\w` is isalnum and _
_SYMBOLS = re.compile(r"(?:[^\w\s]|_)+")
_ASCII = [chr(code) for code in range(128)]
_ASCII_SYMBOLS = "".join(c for c in _ASCII if not c.isalnum() and not c.isspace()).encode()
# `bytes.split` does not know four of ASCII's spaces
_SPACES = bytes(32 if chr(code).isspace() and code < 128 else code for code in range(256))


class Rules:
    r"""Judges lines one by one.

    Args:
        settings: the thresholds.

    >>> rules = Rules(CleaningSettings())
    >>> rules.judge(b"Call me Ishmael.")
    ('short', b'')
    >>> rules.judge(b"Some years ago - never mind how long!")
    (None, b'34\nSome years ago never\nnever mind how long')
    """

    def __init__(self, settings: CleaningSettings) -> None:
        self.max_line, self.min_words = settings.max_line, settings.min_words
        self.max_symbols = settings.max_symbols
        self._tags = TagFinder(settings.allowed_tags) if settings.html else None

    def judge(self, line: bytes) -> tuple[str | None, bytes]:
        r"""Return why a line goes (None: it stays), and the key of one that stays.

        Args:
            line: without its `\n`; a `\r` before it is whitespace.

        Returns:
            The first of `REASONS` that holds, `duplicate` left out. The key holds the length of the
            line without its symbols, runs of whitespace counted as one, and its first and last
            four words.
        """
        if len(line) > self.max_line:
            return "too_long", b""
        try:
            symbols, letters, words, key = _ascii(line) if line.isascii() else _unicode(line)
        except UnicodeDecodeError:
            return "invalid_utf8", b""
        if self._tags is not None and b"<" in line and self._tags.finds(line):
            return "html", b""
        # words of symbols alone are none of `words`, but they are words
        if words < self.min_words and len(_text(line).split()) < self.min_words:
            return "short", b""
        # correctly rounded, so that 3 of 30 are not more than 0.1
        if symbols and symbols / (symbols + letters) > self.max_symbols:
            return "symbols", b""
        return None, key


def _ascii(line: bytes) -> tuple[int, int, int, bytes]:
    r"""Return the numbers of symbols, of letters and digits, of words that have some; and the key.

    >>> _ascii(b"ab, c - d") == _unicode(b"ab, c - d") == (2, 4, 3, b"6\nab c d\nab c d")
    True
    """
    bare = line.translate(_SPACES, _ASCII_SYMBOLS)
    words = bare.split()
    letters = len(b"".join(words))
    ends = b" ".join(words[:4]), b" ".join(words[-4:])
    return len(line) - len(bare), letters, len(words), _key(letters, len(words), *ends)


def _unicode(line: bytes) -> tuple[int, int, int, bytes]:
    """Return the same for any UTF-8, which takes three times as long a character."""
    text = _text(line)
    bare = _SYMBOLS.sub("", text)
    words = bare.split()
    letters = len("".join(words))
    ends = " ".join(words[:4]).encode(), " ".join(words[-4:]).encode()
    return len(text) - len(bare), letters, len(words), _key(letters, len(words), *ends)


def _text(line: bytes) -> str:
    """Return the text without a byte order mark: it may stand in front of any line."""
    return line.decode().removeprefix(_BOM)


def _key(letters: int, words: int, first: bytes, last: bytes) -> bytes:
    return b"%d\n%b\n%b" % (letters + max(words - 1, 0), first, last)
