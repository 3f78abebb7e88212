"""The references try every combination, or bound them all by a linear programme."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy import optimize

from ms_eff.methods.lowrank.budget import Candidate, allocate, reachable, spectrum_losses


def candidate(name: str, C: int, S: int, seed: int) -> Candidate:
    rng = np.random.default_rng(seed)
    sigma = np.sort(rng.exponential(size=min(C, S)))[::-1]
    ranks = np.arange(1, len(sigma) + 1)
    return Candidate(name, C * S, ranks * (C + S), spectrum_losses(sigma), ranks[:, None])


def cost_and_loss(candidates: list[Candidate], chosen: dict) -> tuple[int, float]:
    cost, loss = 0, 0.0
    for c in candidates:
        rank = chosen[c.name]
        cost += c.dense_cost if rank is None else int(c.costs[rank[0] - 1])
        loss += 0.0 if rank is None else float(c.losses[rank[0] - 1])
    return cost, loss


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("share", [0.25, 0.5, 0.8, 0.95])
def test_choice_is_within_the_budget_and_near_the_best(seed: int, share: float) -> None:
    candidates = [candidate("a", 12, 9, seed), candidate("b", 6, 14, 100 + seed)]
    candidates.append(candidate("c", 8, 8, 200 + seed))
    budget = int(share * sum(c.dense_cost for c in candidates))
    cost, loss = cost_and_loss(candidates, allocate(candidates, budget))
    assert cost <= budget
    options = [[(r,) for r in range(1, len(c.costs) + 1)] + [None] for c in candidates]
    best = min(
        found
        for combination in itertools.product(*options)
        for spent, found in [
            cost_and_loss(
                candidates, dict(zip([c.name for c in candidates], combination, strict=True))
            )
        ]
        if spent <= budget
    )
    # three layers are the greedy choice's worst case: one step is a large part of the budget
    assert loss <= best * 1.5 + 1e-12


@pytest.mark.parametrize("share", [0.3, 0.5, 0.8, 0.95])
def test_many_layers_come_close_to_the_bound_of_all_choices(share: float) -> None:
    shapes = np.random.default_rng(7).integers(8, 40, (30, 2)).tolist()
    candidates = [candidate(f"l{i}", C, S, i) for i, (C, S) in enumerate(shapes)]
    budget = int(share * sum(c.dense_cost for c in candidates))
    cost, loss = cost_and_loss(candidates, allocate(candidates, budget))
    assert cost <= budget
    assert loss <= linear_bound(candidates, budget) * 1.02


def linear_bound(candidates: list[Candidate], budget: int) -> float:
    """Return the least loss if layers could be mixtures of their points."""
    costs = np.concatenate([np.append(c.costs, c.dense_cost) for c in candidates])
    losses = np.concatenate([np.append(c.losses, 0.0) for c in candidates])
    owner = np.repeat(np.arange(len(candidates)), [len(c.costs) + 1 for c in candidates])
    one_each = (owner == np.arange(len(candidates))[:, None]).astype(float)
    ones = np.ones(len(candidates))
    found = optimize.linprog(losses, costs[None], [budget], one_each, ones)
    return float(found.fun)


def test_a_budget_that_is_met_already_changes_nothing() -> None:
    candidates = [candidate("a", 12, 9, 0), candidate("b", 6, 14, 1)]
    assert allocate(candidates, 12 * 9 + 6 * 14) == {"a": None, "b": None}


def test_the_least_is_reached_and_not_less() -> None:
    candidates = [candidate("a", 12, 9, 0), candidate("b", 6, 14, 1)]
    assert reachable(candidates) == 21 + 20
    assert allocate(candidates, 41) == {"a": (1,), "b": (1,)}
    with pytest.raises(ValueError, match="budget: 40 is below 41"):
        allocate(candidates, 40)


def test_a_layer_that_cannot_shrink_stays() -> None:
    stiff = Candidate("s", 4, np.array([4, 8]), np.array([0.5, 0.0]), np.array([[1], [2]]))
    empty = Candidate("e", 3, np.array([], int), np.array([]), np.zeros((0, 1), int))
    free = candidate("a", 12, 9, 0)
    chosen = allocate([stiff, empty, free], 4 + 3 + 50)
    assert chosen["s"] is None
    assert chosen["e"] is None
    assert chosen["a"] == (2,)


def test_what_loses_nothing_goes_first() -> None:
    low_rank = Candidate("low", 100, np.array([20, 40]), np.array([0.7, 0.0]), np.array([[1], [2]]))
    chosen = allocate([low_rank, candidate("a", 12, 9, 0)], 100 + 108 - 50)
    assert chosen == {"low": (2,), "a": None}


def test_losses_are_minus_log_of_the_energy_kept() -> None:
    sigma = np.array([5.0, 3.0, 1.0, 0.0])
    expected = -np.log(np.array([25, 34, 35, 35]) / 35)
    np.testing.assert_allclose(spectrum_losses(sigma), expected, atol=1e-15)
    np.testing.assert_allclose(spectrum_losses(1e3 * sigma), expected, atol=1e-12)
    assert not spectrum_losses(np.zeros(3)).any()
