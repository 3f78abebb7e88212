"""Is there an HTML tag in a line? The standard library's parser decides."""

from __future__ import annotations

import re
from collections.abc import Collection
from html.parser import HTMLParser

__all__ = ["MANY_OPENINGS", "TagFinder"]

MANY_OPENINGS = 256
"""Openings of markup in one line from which on it is HTML without being parsed (ours)."""

# what the parser needs before it reports a tag: `<` and a letter, or `</`; and a `>` behind it
_TAG = re.compile(rb"<[A-Za-z/]")
_MARKUP = re.compile(rb"<[A-Za-z/!?]")


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
        nothing. Nor is one with `MANY_OPENINGS`: broken markup costs the parser the whole rest of
        the line for each opening.
        """
        first = _TAG.search(line)
        if first is None or line.find(b">", first.end()) < 0:
            # `</>` is the one short form, and the parser skips it
            return False
        if len(_MARKUP.findall(line)) >= MANY_OPENINGS:
            return True
        return self._parser.finds(line.decode())


class _Parser(HTMLParser):
    def __init__(self, allowed: frozenset[str]) -> None:
        super().__init__(convert_charrefs=True)
        self.allowed = allowed
        self.found = False

    def finds(self, text: str) -> bool:
        self.reset()
        self.found = False
        self.feed(text)
        if not self.found:
            self.close()  # what was left as incomplete is gone through to its end
        return self.found

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.found = self.found or tag not in self.allowed

    def handle_endtag(self, tag: str) -> None:
        self.found = self.found or tag not in self.allowed

    def parse_marked_section(self, i: int, report: int = 1) -> int:
        # HTML 5 makes a comment of `<![...>`, up to the next `>`; the parser's own method raises
        # AssertionError for every word it does not know
        return self.parse_bogus_comment(i, bool(report))
