"""Strategies for bad inputs: values of JSON with a change somewhere, and bytes with damage."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

from hypothesis import strategies as st

_SMALL = st.one_of(st.integers(-3, 9), st.floats(width=32))
_NUMBERS = st.one_of(_SMALL, st.sampled_from([-(2**63), 2**31, 2**64, 10**30]))
_WORDS = st.one_of(
    st.text(max_size=6),
    st.sampled_from(["", "null", "resnet18", "..", "/", "lowrank", "1e3", "\x00", "é", "\n"]),
)


def _nested(numbers: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.recursive(
        st.one_of(st.none(), st.booleans(), numbers, _WORDS),
        lambda inner: st.one_of(
            st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=5), inner, max_size=3)
        ),
        max_leaves=6,
    )


JUNK = _nested(_NUMBERS)
SMALL_JUNK = _nested(_SMALL)  # where a number is a size that will be built


@st.composite
def changed(draw: Any, value: Any, junk: st.SearchStrategy[Any] = JUNK) -> Any:
    """Return a copy of a value of JSON with one to three places replaced, dropped or added to."""
    value = copy.deepcopy(value)
    for _ in range(draw(st.integers(1, 3))):
        if not isinstance(value, dict | list) or not value:
            return draw(junk)
        holder, key = draw(st.sampled_from(list(_places(value))))
        action = draw(st.sampled_from(["replace", "replace", "drop", "add"]))
        if action == "drop":
            del holder[key]
        elif action == "add" and isinstance(holder, dict):
            holder[draw(st.one_of(st.just(f"{key}s"), st.text(max_size=5)))] = draw(junk)
        else:
            holder[key] = draw(junk)
    return value


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Yield (holder, key) of everything inside."""
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for key, inner in items:
        yield value, key
        if isinstance(inner, dict | list):
            yield from _places(inner)


@st.composite
def damaged(draw: Any, content: bytes) -> bytes:
    """Return bytes with flipped bits, a cut, a hole, something put in, or others altogether."""
    found = bytearray(content)
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, max(len(found) - 1, 0)))
        kind = draw(st.sampled_from(["flip", "flip", "head", "cut", "hole", "insert", "other"]))
        if kind == "flip" and found:
            found[at] ^= 1 << draw(st.integers(0, 7))
        elif kind == "head" and found:  # where formats keep their lengths
            found[at % min(len(found), 64)] = draw(st.integers(0, 255))
        elif kind == "cut":
            del found[at:]
        elif kind == "hole":
            size = draw(st.integers(1, 64))
            found[at : at + size] = bytes(len(found[at : at + size]))
        elif kind == "insert":
            found[at:at] = draw(st.binary(min_size=1, max_size=16))
        elif kind == "other":
            return draw(st.binary(max_size=200))
    return bytes(found)
