from __future__ import annotations

import numpy as np
import pytest

from ms_eff.errors import ConfigError
from ms_eff.models.heads import HeadLayout, head_layout

# arXiv:2311.03426, table 1, for 6 heads: kind, groups -> #Q, #KV
PAPER = {
    ("mha", None): (6, 6),
    ("mqa", None): (6, 1),
    ("gqa", 2): (6, 2),
    ("gqa", 3): (6, 3),
    ("mkva", None): (1, 6),
    ("gkva", 2): (2, 6),
    ("gkva", 3): (3, 6),
    ("gqkva", (2, 3)): (2, 3),
    ("gqkva", (3, 2)): (3, 2),
}


@pytest.mark.parametrize(("kind", "groups"), PAPER)
def test_every_kind_has_the_papers_numbers_and_no_pair_twice(kind, groups) -> None:
    layout = head_layout(kind, 6, groups)
    assert (layout.queries, layout.keys) == PAPER[kind, groups]
    assert len(set(zip(layout.q_index, layout.kv_index, strict=True))) == 6


@pytest.mark.parametrize(("kind", "groups"), PAPER)
def test_copies_and_order_give_the_pairs_of_the_index_vectors(kind, groups) -> None:
    layout = head_layout(kind, 6, groups)
    outer, inner = layout.query_copies
    queries = np.tile(np.repeat(np.arange(layout.queries), inner), outer)
    keys = np.repeat(np.arange(layout.keys), 6 // layout.keys)
    pairs = np.stack([queries, keys], axis=1).reshape(layout.keys, -1, 2)
    if layout.interleaved:
        pairs = pairs.transpose(1, 0, 2)
    expected = np.stack([layout.q_index, layout.kv_index], axis=1)
    np.testing.assert_array_equal(pairs.reshape(-1, 2), expected)


@pytest.mark.parametrize(
    ("kind", "groups", "message"),
    [
        ("gqva", 2, "kind: unknown 'gqva'"),
        ("gqa", None, "groups: None: gqa takes one number"),
        ("mha", 2, "groups: 2: mha takes none"),
        ("gqkva", 2, "gqkva takes a pair of numbers"),
        ("gqa", 4, "groups: 4 does not divide the 6 heads"),
        ("gkva", 0, "groups: expected numbers from 1, got 0"),
        ("gqkva", (2, 2), "groups: 2 x 2 is not the number of heads, 6"),
    ],
)
def test_groups_that_do_not_fit_are_refused(kind, groups, message) -> None:
    with pytest.raises(ConfigError, match=message):
        head_layout(kind, 6, groups)


@pytest.mark.parametrize(
    ("q_index", "kv_index", "message"),
    [
        ((0, 1), (0,), "2 and 1 heads"),
        ((), (), "0 and 0 heads"),
        ((0, 0, 1, 1), (0, 0, 1, 1), "occurs twice"),
        ((0, 2, 1, 3), (0, 0, 0, 0), "q_index = .* runs of equal length"),
        ((1, 2), (0, 1), "q_index"),
        ((-1, -2), (0, 1), "q_index"),
        ((0, 1, 2, 3), (0, 1, 0, 1), "number the queries"),
    ],
)
def test_vectors_that_broadcast_cannot_give_are_refused(q_index, kv_index, message) -> None:
    with pytest.raises(ConfigError, match=message):
        HeadLayout(q_index, kv_index)
