from __future__ import annotations

import json

import pytest

from ms_eff.methods.lowrank.targeting import Group, target

A = Group(("a",), 10.0, 4.0, 2)  # gains 12
B = Group(("b",), 10.0, 9.0, 3)  # gains 3
C = Group(("c",), 10.0, 9.6, 5)  # gains 4 %: below the threshold


def whole(real_gain: dict[str, float], dense: float = 100.0):
    """Time the whole as the original less what each group really gains in it."""
    return lambda groups: dense - sum(real_gain[group.layers[0]] for group in groups)


def test_groups_that_keep_their_promise_stay():
    found = target([A, B, C], whole({"a": 12, "b": 3}))
    assert found.kept == (A, B)
    assert [group for group, _ in found.dropped] == [C]
    assert (found.dense_ms, found.predicted_ms, found.measured_ms) == (100, 85, 85)
    assert json.loads(json.dumps(found.to_json()))["dropped"][0]["layers"] == ["c"]


def test_what_slows_the_whole_is_dropped():
    found = target([A, B], whole({"a": 12, "b": -8}))
    assert found.kept == (A,)
    assert found.measured_ms == found.predicted_ms == 88


def test_a_drop_that_makes_it_slower_is_taken_back():
    # slower than predicted, but because of the group with the largest gain
    found = target([A, B], whole({"a": -5, "b": 3}))
    assert found.kept == (B,)
    found = target([A, B], whole({"a": 7, "b": 3}))  # less than promised, yet both help
    assert found.kept == (A, B)
    assert (found.predicted_ms, found.measured_ms) == (85, 90)


def test_three_drops_in_a_row_that_do_not_help_are_enough() -> None:
    groups = [Group((name,), 10.0, 5.0 - i, 1) for i, name in enumerate("abcde")]
    timed: list[int] = []

    def slow(kept):  # each helps, but none keeps its promise
        timed.append(len(kept))
        return 100.0 - len(kept)

    assert target(groups, slow).kept == tuple(groups)
    assert timed == [0, 5, 4, 4, 4]


@pytest.mark.parametrize("gain", [-1.0, 0.0, 0.9])
def test_a_whole_that_is_not_faster_beyond_noise_stays_as_it_is(gain):
    found = target([A], whole({"a": gain}))
    assert found.kept == ()
    assert found.measured_ms == found.predicted_ms == 100


def test_without_a_candidate_nothing_is_timed():
    def never(groups):
        raise RuntimeError("timed")

    assert target([C], never).kept == ()


def test_where_nothing_can_be_run_the_groups_gains_decide() -> None:
    found = target([A, B, C], None)
    assert (found.kept, [group for group, _ in found.dropped]) == ((A, B), [C])
    assert (found.dense_ms, found.predicted_ms, found.measured_ms) == (None, None, None)
    known = target([A, B, C], None, dense_ms=100.0)
    assert (known.kept, known.dense_ms, known.predicted_ms) == ((A, B), 100.0, 85.0)
    assert target([A], None, dense_ms=599.0).kept == (A,)  # 12 ms: just beyond 2 %
    assert target([A], None, dense_ms=600.0).kept == ()
    lost = target([A, B], None, dense_ms=800.0)  # 15 of 800 ms are lost in 2 % of noise
    assert (lost.kept, lost.predicted_ms, lost.measured_ms) == ((), 800.0, None)
    assert all("the whole would take 785 ms, the original 800" in why for _, why in lost.dropped)


def test_at_most_so_many_layers_are_kept_those_that_gain_most_each() -> None:
    groups = [Group(("a", "b"), 10.0, 7.0, 2), Group(("c",), 10.0, 2.0, 1),
              Group(("d", "e"), 10.0, 5.0, 2)]  # fmt: skip

    def whole(kept):
        return 100.0 - sum(group.gain_ms for group in kept)

    assert [g.layers for g in target(groups, whole, most=3).kept] == [("c",), ("d", "e")]
    assert [g.layers for g in target(groups, whole, most=1).kept] == [("c",)]
    found = target(groups, whole, most=0)
    assert found.kept == ()
    assert {reason for _, reason in found.dropped} == {
        "others gain more, and at most 0 layers are wanted"
    }
