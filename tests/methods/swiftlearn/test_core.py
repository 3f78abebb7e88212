from __future__ import annotations

import numpy as np
import pytest

from ms_eff.methods.swiftlearn import core
from tests.tolerances import HOST


def test_movement_and_probability_of_three_samples_by_hand():
    before = np.array([[0.0, 0.0], [1.0, 1.0], [2.0, 0.0]])
    now = np.array([[3.0, 4.0], [1.0, 2.0], [2.0, 0.0]])
    metric = core.movement(before, now)
    np.testing.assert_allclose(metric, [5.0, 1.0, 0.0], atol=1e-6)
    # e^2.5, e^0.5, 1 over their sum
    expected = [0.821415, 0.111165, 0.067425]
    exact = np.exp([2.5, 0.5, 0.0]) / np.exp([2.5, 0.5, 0.0]).sum()
    np.testing.assert_allclose(core.probabilities(metric, 0.5), exact, atol=1e-6)
    np.testing.assert_allclose(exact, expected, atol=1e-4)


def test_sigma_zero_is_uniform_and_huge_movements_do_not_overflow():
    np.testing.assert_allclose(core.probabilities(np.array([1.0, 9.0, 3.0]), 0.0), 1 / 3)
    huge = core.probabilities(np.array([1e30, 1e30, 0.0]), 1e3)
    np.testing.assert_allclose(huge, [0.5, 0.5, 0.0], atol=HOST)


def test_movement_of_tokens_is_the_mean_of_their_norms():
    rng = np.random.default_rng(0)
    before, now = rng.normal(size=(2, 5, 3, 4))
    expected = [np.mean([np.sqrt(((n - b) ** 2).sum()) for b, n in zip(x, y, strict=True)])
                for x, y in zip(before, now, strict=True)]  # fmt: skip
    np.testing.assert_allclose(core.movement(before, now), expected, atol=HOST)


@pytest.mark.parametrize(("size", "keep"), [(10, 0.3), (7, 0.5), (1000, 0.1), (3, 0.01)])
def test_exactly_the_rounded_share_is_chosen_and_each_once(size, keep):
    rng = np.random.default_rng(1)
    metric, count = rng.random(size), core.kept(size, keep)
    assert count == max(round(size * keep), 1)
    for chosen in (
        core.top(metric, count),
        core.gumbel_top(metric, 1.0, count, rng),
        core.prune(metric, count, rng)[0],
    ):
        assert len(set(chosen.tolist())) == len(chosen) == count
        assert (np.diff(chosen) > 0).all()
    worst = np.sort(metric)[::-1][count - 1]
    assert metric[core.top(metric, count)].min() == worst


def test_frequencies_of_the_gumbel_draw_are_the_probabilities():
    metric, sigma = np.array([0.0, 1.0, 2.0, 0.5]), 0.8
    rng = np.random.default_rng(2)
    draws = np.array([core.gumbel_top(metric, sigma, 1, rng)[0] for _ in range(20_000)])
    found = np.bincount(draws, minlength=4) / len(draws)
    expected = core.probabilities(metric, sigma)
    # four standard errors
    np.testing.assert_array_less(np.abs(found - expected), 4 * np.sqrt(expected / len(draws)))


def test_pairs_of_the_gumbel_draw_follow_from_drawing_one_after_the_other():
    metric = np.array([0.0, 1.0, 2.0])
    p = core.probabilities(metric, 1.0)
    rng = np.random.default_rng(3)
    draws = [tuple(core.gumbel_top(metric, 1.0, 2, rng)) for _ in range(20_000)]
    for pair in ((0, 1), (0, 2), (1, 2)):
        i, j = pair
        expected = p[i] * p[j] / (1 - p[i]) + p[j] * p[i] / (1 - p[j])
        assert draws.count(pair) / len(draws) == pytest.approx(expected, abs=0.015)


@pytest.mark.parametrize("keep", [0.1, 0.3, 0.5, 1.0])
def test_pruning_keeps_high_losses_and_its_weights_sum_to_all_samples(keep):
    scores = np.random.default_rng(4).random(200)
    count = core.kept(200, keep)
    chosen, weights = core.prune(scores, count, np.random.default_rng(5))
    assert weights.sum() == pytest.approx(200, rel=1e-6)
    high = weights == 1
    assert high.sum() > 0
    if keep < 1:
        assert scores[chosen[high]].min() > scores[chosen[~high]].max()
        assert len(np.unique(weights)) == 2


def test_pruned_sums_meet_the_full_sum_in_expectation():
    rng = np.random.default_rng(6)
    scores, values = rng.random(40), rng.normal(size=40)
    sums = []
    for _ in range(20_000):
        chosen, weights = core.prune(scores, 16, rng)
        sums.append(weights @ values[chosen])
    error = np.std(sums) / np.sqrt(len(sums))
    assert abs(np.mean(sums) - values.sum()) < 4 * error


def test_losses_equal_the_formula():
    logits = np.array([[1.0, 2.0, 3.0], [1e4, 0.0, 0.0]])
    found = core.cross_entropy(logits, np.array([0, 0]))
    assert found == pytest.approx([np.log(np.exp([1.0, 2.0, 3.0]).sum()) - 1.0, 0.0])


@pytest.mark.parametrize("every", [None, 1, 2, 3, 9])
@pytest.mark.parametrize("epochs", [1, 2, 3, 10])
def test_passes_equal_those_counted_one_by_one(epochs, every):
    passes = core.Passes(57, epochs, 2, 0.3, every)
    trained = evaluated = steps = since = 0
    for epoch in range(epochs):
        size = 57 if epoch < 2 else round(57 * 0.3)
        trained += size
        steps += int(np.ceil(size / 8))
        since += epoch >= 2
        if every and epoch >= 2 and since % every == 0 and epoch + 1 < epochs:
            evaluated += 57
    assert (passes.trained, passes.evaluated, passes.steps(8)) == (trained, evaluated, steps)
