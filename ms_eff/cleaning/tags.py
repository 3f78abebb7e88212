"""Is there an HTML tag in a line? The standard library's parser decides."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from html.parser import HTMLParser
from typing import Any

__all__ = ["IN_VAIN", "TagFinder"]

IN_VAIN = 2**21
"""Characters of a line that the parser may look through for ends that do not come (ours).

Broken markup costs it the whole rest of the line for each opening: without an end, hours for a line
of a megabyte. What is that broken is HTML.
"""

# what the parser needs before it reports a tag: `<` and a letter, or `</`; and a `>` behind it
_OPENING = re.compile(rb"<[A-Za-z/]")


class TagFinder:
    """Finds tags, opening, closing or empty; comments and declarations are none.

    Args:
        allowed: names that do not count, in lower case.

    >>> finder = TagFinder(allowed=("unk",))
    >>> [finder.finds(s) for s in (b"a <B>c", b"a</p>", b"1 < 2 > 0", b"<3", b"an <unk> word")]
    [True, True, False, False, False]
    """

    def __init__(self, allowed: Collection[str] = ()) -> None:
        self._parser = _Parser(frozenset(allowed))

    def finds(self, line: bytes) -> bool:
        """Tell whether the parser finds a tag in a line of UTF-8.

        A line without an opening and a later `>` is not parsed: without them the parser reports
        nothing.
        """
        first = _OPENING.search(line)
        if first is None or line.find(b">", first.end()) < 0:
            return False
        return self._parser.finds(line.decode())


class _Found(Exception):  # noqa: N818 (not an error: there is no need to read on)
    """Ends the parsing of a line."""


def _counted(parse: Callable[..., int]) -> Callable[..., int]:
    """Return a method of the parser with a limit; where it finds no end it is negative."""

    def counted(self: _Parser, i: int, *args: Any) -> int:
        end = parse(self, i, *args)
        if end < 0:
            self.in_vain += len(self.rawdata) - i
            if self.in_vain > IN_VAIN:
                raise _Found
        return end

    return counted


class _Parser(HTMLParser):
    rawdata: str

    def __init__(self, allowed: frozenset[str]) -> None:
        super().__init__(convert_charrefs=True)
        self.allowed = allowed
        self.in_vain = 0

    def finds(self, text: str) -> bool:
        self.reset()
        self.in_vain = 0
        try:
            self.feed(text)
            self.close()  # what was left as incomplete is gone through to its end
        except _Found:
            return True
        return False

    def handle_starttag(self, tag: str, attrs: object) -> None:
        if tag not in self.allowed:
            raise _Found

    def handle_endtag(self, tag: str) -> None:
        if tag not in self.allowed:
            raise _Found

    def parse_marked_section(self, i: int, report: int = 1) -> int:
        # HTML 5 makes a comment of `<![...>`, up to the next `>`; the parser's own method raises
        # AssertionError for every word it does not know
        return self.parse_bogus_comment(i, bool(report))

    parse_starttag = _counted(HTMLParser.parse_starttag)
    parse_endtag = _counted(HTMLParser.parse_endtag)
    parse_comment = _counted(HTMLParser.parse_comment)
    parse_pi = _counted(HTMLParser.parse_pi)
    parse_html_declaration = _counted(HTMLParser.parse_html_declaration)
