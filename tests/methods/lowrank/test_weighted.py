"""The references are sums over samples, SciPy's matrix root and NumPy's SVD."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import linalg

from ms_eff.methods.lowrank import core, roots, weighted
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


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("two_sided", [False, True])
@pytest.mark.parametrize(
    ("width", "seen"),
    [(128, 300), (128, 60), (576, 1200), (576, 300),
     *(pytest.param(*size, marks=pytest.mark.slow)
       for size in ((1536, 4000), (1536, 900), (4096, 2000)))],
)  # fmt: skip
def test_loss_equals_its_theoretical_minimum_at_the_widths_of_models(
    width: int, seen: int, two_sided: bool
) -> None:
    W, rank = np.random.default_rng(0).standard_normal((width, width)), width // 4
    inputs = samples(width, seen, 1, 4.0)
    gradients = samples(width, 2 * width, 2) if two_sided else None
    F = moment(gradients) if gradients is not None else None
    first, last = weighted.weighted_factors(W, rank, moment(inputs), F)
    achieved = sampled_loss(W - last @ first, inputs, gradients)
    assert achieved == pytest.approx(least_loss(W, rank, inputs, gradients), rel=1e-6)


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
    F = roots.damped(moment(samples(shape[0], 4, 2)), 0.1)
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
    found = roots.root(G)
    np.testing.assert_allclose(found.half @ found.half, G, atol=HOST)
    np.testing.assert_allclose(found.inverse @ found.inverse, np.linalg.pinv(G), rtol=1e-6)


def test_a_triangle_undoes_what_it_turns_and_weighs_as_the_root_does() -> None:
    F = roots.damped(moment(samples(10, 4, 1)), 0.1)
    W = np.random.default_rng(2).standard_normal((10, 7))
    triangle, symmetric = roots.output_root(F), roots.root(F)
    assert isinstance(triangle, roots.Triangle)
    for found in (triangle, symmetric):
        np.testing.assert_allclose(found.turned(found.undone(W)), W, atol=HOST)
        np.testing.assert_allclose(found.turned(W).T @ found.turned(W), W.T @ F @ W, atol=HOST)


@pytest.mark.parametrize("size", [6, 3])
def test_a_second_moment_without_full_rank_gets_no_triangle(size: int) -> None:
    F = np.zeros((6, 6))
    F[:size, :size] = np.diag(np.logspace(0, -12, size))
    found = roots.output_root(F)
    assert isinstance(found, roots.Root)
    np.testing.assert_allclose(found.half @ found.half, F, atol=HOST)


@pytest.mark.parametrize(("S", "C", "seen"), [(24, 36, 200), (30, 30, 25), (20, 60, 40)])
def test_no_root_is_taken_of_the_inputs_where_outputs_are_fewer(S: int, C: int, seen: int) -> None:
    """G has no full rank in two of three cases; the samples say what is least."""
    W, inputs = np.random.default_rng(0).standard_normal((S, C)), samples(C, seen, 1)
    gradients = samples(S, 300, 2)
    moved = roots.InputMoment(moment(inputs))
    found = weighted.nested_factors(W, S // 2, moved, roots.output_root(moment(gradients)))
    assert "root" not in vars(moved)
    for rank in range(1, S // 2 + 1):
        least = least_loss(W, rank, inputs, gradients)
        error = W - found.last[:, :rank] @ found.first[:rank]
        assert sampled_loss(error, inputs, gradients) == pytest.approx(least, rel=1e-6)
        assert found.losses[rank - 1] == pytest.approx(least, rel=1e-6)


@pytest.mark.parametrize("decades", [14.0, 18.0])
def test_inputs_of_very_different_strength_need_no_root_either(decades: float) -> None:
    """One Gram matrix would blur the weak ones: its rounding is above a millionth of the rest."""
    W, inputs = np.random.default_rng(0).standard_normal((200, 240)), samples(240, 500, 1, decades)
    spectrum = np.linalg.svd(W @ inputs, compute_uv=False) ** 2
    assert spectrum[100:].sum() / spectrum[0] < 100 * 200 * np.finfo(float).eps / 1e-6
    moved = roots.InputMoment(moment(inputs))
    found = weighted.nested_factors(W, 100, moved)
    assert "root" not in vars(moved)
    for rank in (1, 20, 50, 80, 100):
        error = W - found.last[:, :rank] @ found.first[:rank]
        least = least_loss(W, rank, inputs, None)
        assert sampled_loss(error, inputs, None) == pytest.approx(least, rel=1e-6)
        assert found.losses[rank - 1] == pytest.approx(least, rel=1e-6)


def test_damping_adds_a_share_of_the_mean_eigenvalue() -> None:
    F = moment(samples(5, 2, 1))
    added = np.linalg.eigvalsh(roots.damped(F, 0.1)) - np.linalg.eigvalsh(F)
    np.testing.assert_allclose(added, 0.1 * np.linalg.eigvalsh(F).mean(), rtol=1e-9)


def test_vanishing_moments_lose_next_to_nothing() -> None:
    W = np.random.default_rng(0).standard_normal((6, 5))
    zero = np.zeros((6, 6))
    assert np.sum(weighted.weighted_spectrum(W, None, roots.damped(zero, 0.1)) ** 2) < 1e-30
    first, last = weighted.weighted_factors(W, 2, np.zeros((5, 5)), roots.damped(zero, 0.1))
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


@pytest.mark.parametrize("shape", [(2, 3), (3, 2)])
def test_weights_must_be_finite(shape: tuple[int, int]) -> None:
    W = np.ones(shape)
    W[0, 1] = np.nan
    with pytest.raises(ValueError, match=r"the .* matrix holds NaN"):
        weighted.weighted_factors(W, 1, np.eye(shape[1]))
