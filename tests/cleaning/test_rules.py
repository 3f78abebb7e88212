"""What each rule says of crafted lines, and of random ones beside a plain reference."""

from __future__ import annotations

import random
import re
import sys
import time

import pytest

from ms_eff.cleaning import rules as module
from ms_eff.cleaning.rules import Rules
from ms_eff.cleaning.settings import CleaningSettings, make_settings
from ms_eff.cleaning.tags import TagFinder
from ms_eff.errors import ConfigError
from tests.cleaning.reference import tags

KEPT = None


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"Call me Ishmael, some years ago.", KEPT),
        (b"one two three four five", KEPT),
        (b"one two three four", "short"),
        (b"one two three four -", KEPT),  # a dash is a word, and 1 of 16 characters
        (b"", "short"),
        (b" \t\r", "short"),
        (b"one  two\tthree four five\r", KEPT),
        (b"a b c d e.", "symbols"),
        (b"abcdefghi. a b c d", KEPT),
        (b"nine letters a b!", "short"),
        (b"<p>one two three four five", "html"),
        (b"one two three four five</p>", "html"),
        (b"one <br/> two three four five", "html"),
        (b"one < two and three > four five six", KEPT),
        (b"i <3 you so very much indeed", KEPT),
        (b"<!-- <b> --> one two three four five six seven", "symbols"),
        (
            b"<!-- <b> --> " + b"many other words make symbols a small part " * 3,
            KEPT,
        ),
        (b"an <unk> word among others stands here", "html"),
        (b"one two three four five \xff", "invalid_utf8"),
        (b"<p> one two three four five \xff", "invalid_utf8"),
        (b"x" * 2**20 + b" b c d e", "too_long"),
        ("Über die Straße gehen wir täglich".encode(), KEPT),
        ("我们 今天 去 北京 玩".encode(), KEPT),
        ("five words stand here … …… ……".encode(), "symbols"),
        (b"\xef\xbb\xbfone two three four five", KEPT),
        (b"\xef\xbb\xbfa b c d e", KEPT),  # as a symbol it would be one of six
        (b"a b c d e\0", "symbols"),
        (b"quite a few letters stand here\0", KEPT),
        (b"snake_case_words among others are fine here", KEPT),
    ],
)
def test_crafted_lines(line, reason):
    assert Rules(CleaningSettings()).judge(line)[0] == reason


def test_exactly_the_share_is_kept():
    line = b"abcd efgh ijkl mnop qrstu vwxyz."
    for symbols in range(1, 6):  # n symbols of 10 n characters
        letters = b" ".join([b"a" * symbols] * 9)
        rules = Rules(CleaningSettings(max_symbols=0.1))
        assert rules.judge(letters + b"." * symbols)[0] is None
        assert rules.judge(letters + b"." * (symbols + 1))[0] == "symbols"
    assert Rules(CleaningSettings(max_symbols=0.0)).judge(line)[0] == "symbols"
    assert Rules(CleaningSettings(max_symbols=1.0)).judge(b"! ! ! ! !")[0] is None


def test_every_rule_can_be_switched_off():
    loose = Rules(CleaningSettings(html=False, min_words=0, max_symbols=1, duplicates=False))
    for line in (b"", b"<p>", b"!!!", b"one"):
        assert loose.judge(line)[0] is None
    assert loose.judge(b"\xff")[0] == "invalid_utf8"


def test_allowed_tags_are_no_tags():
    rules = Rules(make_settings({"allowed_tags": ("UNK", "s"), "max_symbols": 0.5}))
    assert rules.judge(b"the <unk> of the <s> was </s> not known")[0] is None
    assert rules.judge(b"the <unk> of the <b> was not known")[0] == "html"


@pytest.mark.parametrize(
    ("given", "part"),
    [
        ({"min_words": -1}, "min_words = -1"),
        ({"max_symbols": 2}, "max_symbols = 2"),
        ({"max_line": 0}, "max_line = 0"),
        ({"allowed_tags": ("<b>",)}, "'<b>' is no name of a tag"),
        ({"words": 1}, "unknown setting 'words' (did you mean 'min_words'?)"),
    ],
)
def test_a_wrong_setting_is_named(given, part):
    with pytest.raises(ConfigError, match=re.escape(part)):
        make_settings(given)


def test_characters_are_told_apart_as_python_does():
    for code in range(sys.maxunicode + 1):
        char = chr(code)
        symbol = not char.isalnum() and not char.isspace()
        assert bool(module._SYMBOLS.match(char)) == symbol, hex(code)


def test_both_ways_to_look_at_ascii_agree():
    draw = random.Random(0)
    for _ in range(3000):
        line = bytes(draw.choices(range(128), k=draw.randint(0, 40))).replace(b"\n", b"")
        assert module._ascii(line) == module._unicode(line)


def test_the_filter_in_front_of_the_parser_changes_nothing():
    """Random markup: the finder says what the parser alone says."""
    draw = random.Random(1)
    pieces = ["<", ">", "/", "a", "b ", "!", "-", "--", "[", "]", '"', "'", "=", "?", " ", "é", "&"]
    pieces += ["<a", "</", "<!--", "-->", "<script>", "</script", "<![CDATA[", "\r", "\0", "\x85"]
    finder = TagFinder()
    found = 0
    for _ in range(20_000):
        text = "".join(draw.choices(pieces, k=draw.randint(1, 16)))
        expected = bool(tags(text))
        found += expected
        assert finder.finds(text.encode()) == expected, text
    assert 2000 < found < 18_000


@pytest.mark.parametrize("unit", [b'<a b=">" ', b"<!-- > <p ", b"</ <p ", b"<a ", b"<!x ", b"<?x "])
def test_broken_markup_costs_no_time(unit):
    """A megabyte, every opening of which has the parser look for its end to the end of the line."""
    finder = TagFinder()
    line = b"</> " + unit * (2**20 // len(unit))
    began = time.process_time()
    finder.finds(line)
    assert time.process_time() - began < 5
    few = line[:1000]  # looked through again and again, that is below IN_VAIN
    assert finder.finds(few) == bool(tags(few.decode()))


@pytest.mark.parametrize(
    ("first", "second", "same"),
    [
        (b"One, two three four five!", b"One two, three four five", True),
        (b"One two three four five\r", b"One  two three four five", True),
        (b"One two three four five", b"one two three four five", False),
        (b"a b c d here e f g h", b"a b c d some e f g h", True),  # as long, other middle
        (b"a b c d here e f g h", b"a b c d other e f g h", False),
        ("a b c d … e".encode(), b"a b c d e", True),
        (b"ab cd ef gh ij", b"ab cd ef gh i j", False),
    ],
)
def test_the_key_is_length_and_eight_words(first, second, same):
    rules = Rules(CleaningSettings(max_symbols=1))
    assert (rules.judge(first) == rules.judge(second)) is same
