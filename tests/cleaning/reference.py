"""Cleaning as one would write it down first: a line at a time, a character at a time."""

from __future__ import annotations

import random
from html.parser import HTMLParser

REASONS = ("too_long", "invalid_utf8", "html", "short", "symbols", "duplicate")


class Tags(HTMLParser):
    def __init__(self):
        super().__init__()
        self.names = []

    def handle_starttag(self, tag, attrs):
        self.names.append(tag)

    def handle_endtag(self, tag):
        self.names.append(tag)

    def parse_marked_section(self, i, report=1):
        return self.parse_bogus_comment(i, report)


def tags(text):
    parser = Tags()
    parser.feed(text)
    parser.close()
    return parser.names


def cleaned(
    data, *, max_line=2**20, html=True, allowed_tags=(), min_words=5, max_symbols=0.1,
    duplicates=True,
):  # fmt: skip
    """Return what stays of the bytes of one file, and the counts by reason."""
    stays, counts, seen = [], dict.fromkeys(REASONS, 0), set()
    pieces = data.split(b"\n")
    lines = [piece + b"\n" for piece in pieces[:-1]] + ([pieces[-1]] if pieces[-1] else [])
    for whole in lines:
        line = whole.removesuffix(b"\n")
        if len(line) > max_line:
            counts["too_long"] += 1
            continue
        try:
            text = line.decode("utf-8")
        except UnicodeDecodeError:
            counts["invalid_utf8"] += 1
            continue
        text = text.removeprefix("\ufeff")
        solid = [c for c in text if not c.isspace()]
        symbols = [c for c in solid if not c.isalnum()]
        bare = "".join(c for c in text if c.isalnum() or c.isspace()).split()
        key = (len(" ".join(bare)), tuple(bare[:4]), tuple(bare[-4:]))
        if html and any(tag not in allowed_tags for tag in tags(text)):
            counts["html"] += 1
        elif len(text.split()) < min_words:
            counts["short"] += 1
        elif solid and len(symbols) / len(solid) > max_symbols:
            counts["symbols"] += 1
        elif duplicates and key in seen:
            counts["duplicate"] += 1
        else:
            seen.add(key)
            stays.append(whole)
    return b"".join(stays), counts


_PIECES = [
    *(b"word", b"Other", b"and", b"12", b"x", "é".encode(), "中文".encode(), b"don't"),
    *(
        b"<b>",
        b"</p>",
        b"<",
        b">",
        b"<!--",
        b"-->",
        b"<![x",
        b"<unk>",
        b"<3",
        b'="',
        b"/>",
        b"&lt;",
    ),
    *(b".", b",", b"_", b"\0", b"\xff", "…".encode(), b"\xef\xbb\xbf", b"\xc3"),
    *(b"\r", b"\t", b"\x1f", b"\x0b", "\u2003".encode(), "\x85".encode()),
]
_PLAIN = [b"the", b"whale", b"sea", b"of", b"a", b"ship", "Straße".encode(), b"19", b"we", b"say,"]


def random_text(seed, lines=300, last_newline=True):
    """Return lines that meet every rule often: plain ones, spoiled ones, repeated ones."""
    draw = random.Random(seed)
    made = []
    for _ in range(lines):
        kind = draw.random()
        if made and kind < 0.15:
            line = draw.choice(made)
            line = line.replace(b" ", b"  ") if kind < 0.05 else line
        elif kind < 0.6:
            line = b" ".join(draw.choices(_PLAIN, k=draw.randint(0, 12)))
        else:
            some = draw.choices(_PLAIN + _PIECES, k=draw.randint(1, 14))
            line = draw.choice([b" ", b" ", b""]).join(some)
            if kind > 0.97:
                line = draw.randbytes(draw.randint(0, 30))
        made.append(line.replace(b"\n", b""))
    return b"\n".join(made) + (b"\n" if last_newline else b"")
