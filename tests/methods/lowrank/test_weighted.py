"""The references are sums over samples, SciPy's matrix root and NumPy's SVD."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import linalg

from ms_eff.methods.lowrank import core, weighted
from tests.tolerances import HOST

Array = np.ndarray


def samples(size: int, count: int, seed: int, decades: float = 2.0) -> Array:
    """Return correlated samples (size, count) whose variances span some decades."""
    rng = np.random.default_rng(seed)
    mix, _ = np.linalg.qr(rng.standard_normal((size, size)))
    scales = np.logspace(0, -decades / 2, size)
    return mix @ (scales[:, None] * rng.standard_normal((size, count)))


def moment(inputs: Array) -> Array:
    return inputs @ inputs.T / inputs.shape[1]


def sampled_loss(error: Array, inputs: Array, gradients: Array | None) -> float:
    """Return the mean over all pairs of (g . error x)^2, or of |error x|^2 without gradients."""
    outputs = error @ inputs
    if gradients is None:
        return float(np.mean(np.sum(outputs**2, axis=0)))
    return float(np.mean((gradients.T @ outputs) ** 2))


def least_loss(W: Array, rank: int, inputs: Array, gradients: Array | None) -> float:
    """Eckart-Young on SVD factors of the samples themselves, without any second moment."""
    U, s, _ = np.linalg.svd(inputs, full_matrices=False)
    target = W @ (U * s) / np.sqrt(inputs.shape[1])
    if gradients is not None:
        U, s, _ = np.linalg.svd(gradients, full_matrices=False)
        target = (U * s).T @ target / np.sqrt(gradients.shape[1])
    return float(np.sum(np.linalg.svd(target, compute_uv=False)[rank:] ** 2))


@pytest.mark.parametrize("two_sided", [False, True])
@pytest.mark.parametrize(
    ("S", "C", "seen"), [(24, 36, 200), (36, 24, 200), (30, 30, 12), (48, 20, 7)]
)
def test_loss_equals_its_theoretical_minimum(S: int, C: int, seen: int, two_sided: bool) -> None:
    W = np.random.default_rng(0).standard_normal((S, C))
    inputs, gradients = samples(C, seen, 1), samples(S, 300, 2) if two_sided else None
    F = moment(gradients) if gradients is not None else None
    for rank in (1, 3, min(seen, S, C) - 1):
        first, last = weighted.weighted_factors(W, rank, moment(inputs), F)
        achieved = sampled_loss(W - last @ first, inputs, gradients)
        assert achieved == pytest.approx(least_loss(W, rank, inputs, gradients), rel=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("seen", [4000, 900])
def test_loss_equals_its_theoretical_minimum_at_width_1536(seen: int) -> None:
    W = np.random.default_rng(0).standard_normal((1536, 1536))
    inputs, gradients = samples(1536, seen, 1, 4.0), samples(1536, 3000, 2)
    first, last = weighted.weighted_factors(W, 400, moment(inputs), moment(gradients))
    achieved = sampled_loss(W - last @ first, inputs, gradients)
    assert achieved == pytest.approx(least_loss(W, 400, inputs, gradients), rel=1e-6)


def test_it_is_the_truncated_svd_with_both_roots_undone() -> None:
    W = np.random.default_rng(0).standard_normal((9, 12))
    G, F = moment(samples(12, 100, 1)), moment(samples(9, 100, 2))
    left, right = linalg.sqrtm(F).real, linalg.sqrtm(G).real
    U, s, V = np.linalg.svd(left @ W @ right)
    expected = np.linalg.inv(left) @ (U[:, :4] * s[:4]) @ V[:4] @ np.linalg.inv(right)
    first, last = weighted.weighted_factors(W, 4, G, F)
    np.testing.assert_allclose(last @ first, expected, atol=1e-8)
    np.testing.assert_allclose(weighted.weighted_spectrum(W, G, F), s, atol=HOST)


def test_without_moments_it_is_the_svd_of_the_weight() -> None:
    W = np.random.default_rng(0).standard_normal((14, 10))
    first, last = weighted.weighted_factors(W, 4)
    W0, W1 = core.svd_factors(W.T, 4)
    np.testing.assert_allclose(last @ first, (W0 @ W1).T, atol=HOST)
    np.testing.assert_allclose(
        np.linalg.norm(first, axis=1), np.linalg.norm(last, axis=0), rtol=1e-12
    )
    np.testing.assert_allclose(weighted.weighted_spectrum(W), core.singular_values(W), atol=HOST)


def test_unseen_inputs_are_treated_as_the_seen_ones() -> None:
    W = np.random.default_rng(0).standard_normal((8, 20))
    inputs = samples(20, 5, 1)
    first, last = weighted.weighted_factors(W, 6, moment(inputs))
    projector = last @ np.linalg.pinv(last)  # G has rank 5: six directions lose nothing seen
    np.testing.assert_allclose(last @ first @ inputs, W @ inputs, atol=HOST)
    np.testing.assert_allclose(last @ first, projector @ W, atol=HOST)


@pytest.mark.parametrize("shape", [(12, 9), (9, 12)])
def test_full_rank_is_exact(shape: tuple[int, int]) -> None:
    W = np.random.default_rng(3).standard_normal(shape)
    F = weighted.damped(moment(samples(shape[0], 4, 2)), 0.1)
    first, last = weighted.weighted_factors(W, min(shape), moment(samples(shape[1], 50, 1)), F)
    np.testing.assert_allclose(last @ first, W, atol=1e-8)


def test_loss_is_the_mean_over_samples() -> None:
    error = np.random.default_rng(0).standard_normal((6, 8))
    inputs, gradients = samples(8, 40, 1), samples(6, 30, 2)
    found = weighted.weighted_loss(error, moment(inputs), moment(gradients))
    assert found == pytest.approx(sampled_loss(error, inputs, gradients), rel=1e-12)
    assert weighted.weighted_loss(error, moment(inputs)) == pytest.approx(
        sampled_loss(error, inputs, None)
    )
    assert weighted.weighted_loss(error) == pytest.approx(np.sum(error**2))


@pytest.mark.parametrize("count", [3, 40])
def test_root_and_its_pseudo_inverse(count: int) -> None:
    G = moment(samples(10, count, 1))
    found = weighted.root(G)
    np.testing.assert_allclose(found.half @ found.half, G, atol=HOST)
    np.testing.assert_allclose(found.inverse @ found.inverse, np.linalg.pinv(G), rtol=1e-6)


def test_damping_adds_a_share_of_the_mean_eigenvalue() -> None:
    F = moment(samples(5, 2, 1))
    added = np.linalg.eigvalsh(weighted.damped(F, 0.1)) - np.linalg.eigvalsh(F)
    np.testing.assert_allclose(added, 0.1 * np.linalg.eigvalsh(F).mean(), rtol=1e-9)


def test_vanishing_moments_lose_next_to_nothing() -> None:
    W = np.random.default_rng(0).standard_normal((6, 5))
    zero = np.zeros((6, 6))
    assert np.sum(weighted.weighted_spectrum(W, None, weighted.damped(zero, 0.1)) ** 2) < 1e-30
    first, last = weighted.weighted_factors(W, 2, np.zeros((5, 5)), weighted.damped(zero, 0.1))
    assert np.isfinite(last @ first).all()
    assert np.isfinite(sum(map(np.sum, weighted.weighted_factors(W * 0, 2)))).all()


@pytest.mark.parametrize("rank", [0, 6])
def test_the_rank_must_fit(rank: int) -> None:
    with pytest.raises(ValueError, match=f"rank: expected 1 to 5, got {rank}"):
        weighted.weighted_factors(np.ones((6, 5)), rank)


@pytest.mark.parametrize("bad", [np.ones((2, 3)), np.full((2, 2), np.nan)])
def test_second_moments_must_be_square_and_finite(bad: Array) -> None:
    with pytest.raises(ValueError, match="second moment"):
        weighted.weighted_factors(np.ones((2, 2)), 1, bad)
