"""The references are NumPy's SVD and the formulas of arXiv:2407.20266."""

from __future__ import annotations

import numpy as np
import pytest

from ms_eff.methods.lowrank import core
from tests.tolerances import HOST

# (C, S, ratio) -> rank, printed in the papers
TABLE = [
    (64, 64, 16),
    (64, 256, 25),
    (2048, 512, 204),
    (2048, 1000, 335),
]


def spectrum_matrix(C: int, S: int, sigma: np.ndarray, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    U = np.linalg.qr(rng.standard_normal((C, len(sigma))))[0]
    V = np.linalg.qr(rng.standard_normal((S, len(sigma))))[0]
    return (U * sigma) @ V.T


def excess_loss(W: np.ndarray, rank: int) -> float:
    """Loss over the Eckart-Young optimum, less what float64 can resolve at all."""
    W0, W1 = core.svd_factors(W, rank)
    assert W0.shape == (W.shape[0], rank)
    assert W1.shape == (rank, W.shape[1])
    sigma = np.linalg.svd(W, compute_uv=False)
    optimum = np.sqrt(np.sum(sigma[rank:] ** 2))
    resolution = max(W.shape) * np.finfo(float).eps * sigma[0]
    loss = np.linalg.norm(W - W0 @ W1)
    return max(loss - resolution, 0.0) / max(optimum, resolution)


@pytest.mark.parametrize(("C", "S", "rank"), TABLE)
def test_rank_for_ratio_gives_the_papers_table(C: int, S: int, rank: int) -> None:
    assert core.rank_for_ratio(C, S, 2.0) == rank


def test_rank_for_ratio_is_the_largest_that_reaches_the_ratio() -> None:
    rng = np.random.default_rng(1)
    for _ in range(500):
        C, S = rng.integers(1, 3000, 2).tolist()
        ratio = float(rng.choice([1.1, 1.25, 1.5, 1.6, 2.0, 3.7, 8.0]))
        rank = core.rank_for_ratio(C, S, ratio)
        assert rank * (C + S) * ratio <= C * S * (1 + 1e-12)
        assert (rank + 1) * (C + S) * ratio > C * S


@pytest.mark.parametrize("ratio", [0, 1, 0.5, -2, float("nan")])
def test_ratio_must_shrink(ratio: float) -> None:
    with pytest.raises(ValueError, match="ratio"):
        core.rank_for_ratio(64, 64, ratio)


def test_break_even_rank_is_the_last_that_saves() -> None:
    for C, S in [(64, 64), (10, 64), (3, 5), (2048, 512), (1, 7)]:
        rank = core.break_even_rank(C, S)
        assert rank * (C + S) < C * S <= (rank + 1) * (C + S)


@pytest.mark.gate
@pytest.mark.parametrize("shape", [(64, 64), (64, 256), (256, 64), (1024, 512), (1024, 1024)])
def test_loss_is_eckart_youngs(shape: tuple[int, int]) -> None:
    W = np.random.default_rng(2).standard_normal(shape)
    for rank in (1, min(shape) // 4, min(shape) - 1):
        assert excess_loss(W, rank) <= 1 + 1e-6


@pytest.mark.gate
@pytest.mark.parametrize("n", [64, 256, 512])
def test_loss_is_eckart_youngs_for_rank_deficient_matrices(n: int) -> None:
    true_rank = n // 3
    W = spectrum_matrix(n, 2 * n, np.linspace(3, 1, true_rank))
    for rank in (true_rank // 2, true_rank - 1, true_rank, true_rank + 5, n):
        assert excess_loss(W, rank) <= 1 + 1e-6
        assert excess_loss(W.T, rank) <= 1 + 1e-6


@pytest.mark.parametrize("decades", [4, 8, 12, 16])
def test_loss_is_eckart_youngs_for_steep_spectra(decades: int) -> None:
    # where the Gram side alone would lose everything below 1e-8
    W = spectrum_matrix(200, 120, np.logspace(0, -decades, 120))
    for rank in (5, 30, 60, 90, 119):
        assert excess_loss(W, rank) <= 1 + 1e-6


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("true_rank", [4096, 1500])
def test_loss_is_eckart_youngs_at_4096(true_rank: int) -> None:
    rng = np.random.default_rng(3)
    W = rng.standard_normal((4096, 4096))
    if true_rank < 4096:
        W = rng.standard_normal((4096, true_rank)) @ rng.standard_normal((true_rank, 4096))
    assert excess_loss(W, 1024) <= 1 + 1e-6


def test_full_rank_is_exact() -> None:
    W = np.random.default_rng(4).standard_normal((40, 70))
    W0, W1 = core.svd_factors(W, 40)
    np.testing.assert_allclose(W0 @ W1, W, atol=HOST)


@pytest.mark.parametrize("shape", [(50, 30), (30, 50)])
def test_sigma_is_split_evenly(shape: tuple[int, int]) -> None:
    W = np.random.default_rng(5).standard_normal(shape)
    W0, W1 = core.svd_factors(W, 12)
    sigma = np.linalg.svd(W, compute_uv=False)[:12]
    np.testing.assert_allclose(W0.T @ W0, np.diag(sigma), atol=HOST)
    np.testing.assert_allclose(W1 @ W1.T, np.diag(sigma), atol=HOST)


def test_zero_matrix_has_zero_factors() -> None:
    W0, W1 = core.svd_factors(np.zeros((6, 4)), 2)
    assert not W0.any()
    assert not W1.any()
    assert core.truncation_error(np.zeros((6, 4)), W0, W1) == 0


def test_truncation_error_is_the_relative_frobenius_norm() -> None:
    W = np.random.default_rng(6).standard_normal((30, 20))
    sigma = np.linalg.svd(W, compute_uv=False)
    error = core.truncation_error(W, *core.svd_factors(W, 7))
    assert error == pytest.approx(np.sqrt((sigma[7:] ** 2).sum() / (sigma**2).sum()), rel=1e-9)


@pytest.mark.parametrize(("shape", "rank"), [((30, 90), 12), ((30, 90), 30), ((30, 5), 12)])
def test_leading_vectors_are_orthonormal_and_hold_most(shape: tuple[int, int], rank: int) -> None:
    W = np.random.default_rng(7).standard_normal(shape)
    basis, energy = core.leading_vectors(W, rank)
    sigma = np.linalg.svd(W, compute_uv=False)
    np.testing.assert_allclose(basis.T @ basis, np.eye(rank), atol=HOST)
    assert energy == pytest.approx(np.sum(sigma[:rank] ** 2), rel=1e-10)
    assert np.sum((basis.T @ W) ** 2) == pytest.approx(energy, rel=1e-10)


@pytest.mark.parametrize("flip", [False, True])
def test_matmul_is_numpys_whatever_the_layout(flip: bool) -> None:
    rng = np.random.default_rng(8)
    left, right = rng.standard_normal((7, 5)), rng.standard_normal((5, 9))
    a = np.asfortranarray(left) if flip else left
    np.testing.assert_allclose(core.matmul(a, right), left @ right, atol=HOST)
    np.testing.assert_allclose(core.matmul(a[:, ::2], right[::2]), (left[:, ::2] @ right[::2]))


@pytest.mark.parametrize("rank", [0, 5, -1])
def test_rank_must_fit_the_matrix(rank: int) -> None:
    with pytest.raises(ValueError, match=r"rank: expected 1 to 4"):
        core.svd_factors(np.eye(4), rank)


@pytest.mark.parametrize("W", [np.full((3, 3), np.nan), np.ones(3), np.ones((0, 3))])
def test_bad_matrices_are_named(W: np.ndarray) -> None:
    with pytest.raises(ValueError, match="W:"):
        core.svd_factors(W, 1)
