from __future__ import annotations

from collections import Counter

import pytest

from ms_eff.bench.dirty_text import Dirt, clean_sentences, dirty, varied
from tests.cleaning.reference import cleaned

TEXT = (
    b"".join(
        b"The %d captain, they say, went out to sea. He came back late, after %d days! No.\n"
        % (n, n)
        for n in range(60)
    )
    + "… dots begin this sentence of ours.\nJa, sagte er und ging über die Brücke.\n".encode()
)


def test_sentences_are_what_cleaning_keeps():
    lines = clean_sentences(TEXT)
    assert len(lines) == 2 * 60 + 1
    joined = b"\n".join(lines)
    assert cleaned(joined) == (joined, dict.fromkeys(cleaned(b"")[1], 0))


@pytest.mark.parametrize("seed", [0, (1, 2)])
def test_cleaning_drops_what_was_put_in_and_nothing_else(seed):
    lines = varied(clean_sentences(TEXT), 3)
    found, counts = dirty(lines, seed)
    stays, dropped = cleaned(b"\n".join(found))
    assert stays.split(b"\n")[: len(lines)] == lines
    assert {kind: n for kind, n in dropped.items() if n} == counts
    assert len(found) == len(lines) + sum(counts.values())
    assert dirty(lines, seed) == (found, counts)
    assert dirty(lines, 7)[0] != found


def test_shares_are_of_the_clean_lines():
    lines = clean_sentences(TEXT)[:100]
    counts = dirty(lines, 0, Dirt(0.1, 0.2, 0.3, 0.4, 0.05))[1]
    assert counts == {"html": 10, "duplicate": 20, "symbols": 30, "short": 40, "invalid_utf8": 5}
    assert dirty(lines, 0, Dirt(0, 0, 0, 0, 0)) == (lines, dict.fromkeys(counts, 0))


def test_variants_share_no_line():
    lines = clean_sentences(TEXT)
    everything = b"\n".join(line for variant in range(12) for line in varied(lines, variant))
    assert not any(cleaned(everything)[1].values())
    assert Counter(everything.split(b"\n")).most_common(1)[0][1] == 1
