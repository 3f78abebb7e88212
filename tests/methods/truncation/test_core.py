from __future__ import annotations

from fractions import Fraction
from math import floor

import pytest
from pydantic import ValidationError

from ms_eff.errors import ConfigError, PlanError
from ms_eff.methods.truncation.core import RULES, chosen_blocks
from ms_eff.methods.truncation.plan import TruncationPlan
from ms_eff.methods.truncation.settings import TruncationSettings


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ("pseudo_uniform", (0, 2, 4, 7, 9, 11)),
        ("uniform", (0, 2, 4, 6, 8, 10)),
        ("bottom", (0, 1, 2, 3, 4, 5)),
        ("top", (6, 7, 8, 9, 10, 11)),
    ],
)
def test_six_of_twelve_are_the_papers(rule, expected) -> None:
    assert chosen_blocks(12, 6, rule) == expected


def papers_pseudo_uniform(n: int, k: int) -> list[int]:
    found, step, start, end = [], n // k, 0, n - 1
    while start <= end:
        found += [start, end]
        start += step
        end -= step
    return sorted(found)


@pytest.mark.parametrize(("n", "start"), [(12, 6), (24, 12), (36, 13), (48, 24)])
@pytest.mark.parametrize("k", [2, 4, 6])
def test_every_published_depth_follows_the_papers_formulas(n, start, k) -> None:
    def spread(first: int, last: int) -> tuple[int, ...]:
        return tuple(floor(first + Fraction(i * (last - first), k - 1)) for i in range(k))

    assert chosen_blocks(n, k, "pseudo_uniform") == tuple(papers_pseudo_uniform(n, k))
    assert chosen_blocks(n, k, "uniform") == tuple(i * ((n - 1) // (k - 1)) for i in range(k))
    assert chosen_blocks(n, k, "top") == spread(min(start, n - k), n - 1)
    assert chosen_blocks(n, k, "bottom") == spread(0, max(n // 2, k) - 1)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("n", [1, 2, 5, 12, 36])
def test_every_rule_gives_as_many_rising_blocks_as_asked(rule, n) -> None:
    for k in range(1, n + 1):
        if rule == "pseudo_uniform" and k < n and (k % 2 or n % k):
            with pytest.raises(ConfigError, match=r"must be even and divide"):
                chosen_blocks(n, k, rule)
            continue
        found = chosen_blocks(n, k, rule, seed=k)
        assert len(found) == k
        assert list(found) == sorted(set(found))
        assert 0 <= found[0] <= found[-1] < n
        if k == n:
            assert found == tuple(range(n))


def test_pseudo_uniform_is_symmetric_and_holds_both_ends() -> None:
    for n, k in ((12, 4), (24, 8), (36, 6), (48, 16)):
        found = chosen_blocks(n, k, "pseudo_uniform")
        assert found[0] == 0
        assert found == tuple(n - 1 - block for block in reversed(found))


def test_random_depends_on_the_seed_alone() -> None:
    first, again, other = (chosen_blocks(12, 6, "random", seed=s) for s in (3, 3, 4))
    assert first == again != other


@pytest.mark.parametrize(
    ("keep", "rule", "said"),
    [
        (0, "uniform", "keep: 0 of 12"),
        (13, "uniform", "keep: 13 of 12"),
        (5, "pseudo_uniform", "use one of 2, 4, 6, 12, or rule: uniform"),
        (6, "middle", "unknown 'middle'; known: pseudo_uniform"),
        (3, [0, 1], "list names 2 blocks"),
        (None, [1, 0], "rising order"),
        (None, [], "rising order"),
        (None, [0, 12], "has 12 blocks, 0 to 11"),
    ],
)
def test_what_has_no_answer_is_refused(keep, rule, said) -> None:
    with pytest.raises(ConfigError, match=said):
        chosen_blocks(12, keep, rule)


def test_settings_that_do_not_fit_are_refused() -> None:
    assert TruncationSettings(rule=[0, 5]).rule == (0, 5)
    for wrong, said in (
        ({}, "keep is missing"),
        ({"keep": 6, "seed": 1}, "only rule: random"),
        ({"keep": 6, "rule": "middle"}, "known: pseudo_uniform, uniform"),
    ):
        with pytest.raises(ValidationError, match=said):
            TruncationSettings(**wrong)


def test_a_plan_goes_to_json_and_back() -> None:
    plan = TruncationPlan("blocks", 12, (0, 11))
    assert TruncationPlan.from_json(plan.to_json()) == plan
    for wrong in ({"format": "x"}, {"kept": [3, 1]}, {"depth": 4}, {"kept": 3}):
        with pytest.raises(PlanError, match="plan:"):
            TruncationPlan.from_json({**plan.to_json(), **wrong})
