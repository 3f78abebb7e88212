"""The references are tensorly, einsum and the formulas of arXiv:2407.20266."""

from __future__ import annotations

import math

import numpy as np
import pytest

from ms_eff.methods.lowrank import tucker
from tests.tolerances import HOST


def composed(first: np.ndarray, core: np.ndarray, last: np.ndarray) -> np.ndarray:
    return np.einsum("or,rchw,ci->oihw", last[:, :, 0, 0], core, first[:, :, 0, 0])


def noisy(shape: tuple[int, ...], ranks: tuple[int, int], noise: float) -> np.ndarray:
    rng = np.random.default_rng(0)
    S, C, kh, kw = shape
    r1, r2 = ranks
    low = composed(
        rng.standard_normal((r1, C, 1, 1)),
        rng.standard_normal((r2, r1, kh, kw)),
        rng.standard_normal((S, r2, 1, 1)),
    )
    return low / low.std() + noise * rng.standard_normal(shape)


@pytest.mark.parametrize(("channels", "rank"), [(64, 38), (128, 77), (256, 154), (512, 309)])
def test_ranks_at_ratio_two_are_the_papers(channels: int, rank: int) -> None:
    assert tucker.tucker_ranks_for_ratio((channels, channels, 3, 3), 2.0) == (rank, rank)


def test_every_ratio_is_reached_and_no_rank_is_given_away() -> None:
    rng = np.random.default_rng(1)
    for _ in range(300):
        S, C = (int(n) for n in rng.integers(1, 700, 2))
        kh, kw = (int(n) for n in rng.integers(1, 8, 2))
        ratio = float(rng.choice([1.1, 1.5, 2.0, 3.0, 10.0]))
        shape = (S, C, kh, kw)
        r1, r2 = tucker.tucker_ranks_for_ratio(shape, ratio)
        assert r2 == math.floor(S * r1 / C + 1e-9)
        assert tucker.tucker_params(shape, (r1, r2)) * ratio <= math.prod(shape) * (1 + 1e-12)
        more = (r1 + 1) * S / C  # the next rank, before flooring
        params = C * (r1 + 1) + kh * kw * (r1 + 1) * more + S * more
        assert params * ratio > math.prod(shape) * (1 - 1e-9)


@pytest.mark.parametrize(("rank", "percent"), [(242, 67.16), (256, 63.89), (257, 63.65)])
def test_compression_is_the_papers(rank: int, percent: float) -> None:
    shape = (512, 512, 3, 3)
    params = tucker.tucker_params(shape, (rank, rank))
    assert round(100 * (1 - params / math.prod(shape)), 2) == percent


@pytest.mark.parametrize(
    ("shape", "ranks", "noise"),
    [
        ((64, 64, 3, 3), (38, 38), 10.0),
        ((32, 48, 3, 3), (10, 20), 0.3),
        ((48, 16, 5, 3), (4, 30), 1.0),
        ((64, 32, 1, 7), (9, 11), 0.01),
        ((128, 64, 3, 3), (24, 48), 3.0),
    ],
)
def test_error_is_not_above_tensorlys(
    shape: tuple[int, ...], ranks: tuple[int, int], noise: float
) -> None:
    decomposition = pytest.importorskip("tensorly.decomposition")
    weight = noisy(shape, (max(ranks[0] // 2, 1), max(ranks[1] // 2, 1)), noise)
    (core, (last, first)), _ = decomposition.partial_tucker(
        weight, rank=[ranks[1], ranks[0]], modes=[0, 1], init="svd"
    )
    theirs = np.einsum("or,rchw,ic->oihw", last, core, first)
    ours = composed(*tucker.tucker2(weight, ranks))
    assert np.linalg.norm(weight - ours) <= np.linalg.norm(weight - theirs) * (1 + 1e-12)


def test_error_is_within_the_hosvd_bound_and_above_each_modes() -> None:
    weight = noisy((24, 20, 3, 3), (5, 6), 0.5)
    by_input, by_output = tucker.mode_spectra(weight)
    ranks = (7, 9)
    first, core, last = tucker.tucker2(weight, ranks)
    squared = np.linalg.norm(weight - composed(first, core, last)) ** 2
    tails = np.sum(by_input[ranks[0] :] ** 2), np.sum(by_output[ranks[1] :] ** 2)
    assert max(tails) <= squared <= sum(tails)


def test_spectra_are_those_of_the_unfoldings() -> None:
    weight = np.random.default_rng(2).standard_normal((6, 5, 3, 2))
    by_input, by_output = tucker.mode_spectra(weight)
    unfolded = weight.transpose(1, 0, 2, 3).reshape(5, -1), weight.reshape(6, -1)
    np.testing.assert_allclose(by_input, np.linalg.svd(unfolded[0], compute_uv=False), atol=HOST)
    np.testing.assert_allclose(by_output, np.linalg.svd(unfolded[1], compute_uv=False), atol=HOST)


@pytest.mark.parametrize("shape", [(12, 9, 3, 3), (9, 12, 1, 5), (40, 2, 3, 3)])
def test_full_rank_is_exact(shape: tuple[int, ...]) -> None:
    weight = np.random.default_rng(3).standard_normal(shape)
    kernels = tucker.tucker2(weight, (shape[1], shape[0]))
    assert [k.shape[:2] for k in kernels] == [(shape[1],) * 2, shape[:2], (shape[0],) * 2]
    np.testing.assert_allclose(composed(*kernels), weight, atol=HOST)


def test_a_tensor_of_that_rank_is_found() -> None:
    weight = noisy((30, 20, 3, 3), (5, 7), 0.0)
    kernels = tucker.tucker2(weight, (5, 7))
    assert tucker.tucker_error(weight, *kernels) < HOST


def test_sweeps_only_improve() -> None:
    weight = noisy((32, 24, 3, 3), (6, 8), 2.0)
    errors = [
        tucker.tucker_error(weight, *tucker.tucker2(weight, (8, 10), max_sweeps=n, tolerance=0))
        for n in (0, 1, 2, 5, 20)
    ]
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < errors[0]


def test_outer_factors_are_orthonormal() -> None:
    first, core, last = tucker.tucker2(noisy((16, 12, 3, 3), (3, 4), 1.0), (5, 6))
    np.testing.assert_allclose(first[:, :, 0, 0] @ first[:, :, 0, 0].T, np.eye(5), atol=HOST)
    np.testing.assert_allclose(last[:, :, 0, 0].T @ last[:, :, 0, 0], np.eye(6), atol=HOST)
    assert core.shape == (6, 5, 3, 3)


def test_error_is_the_relative_frobenius_norm() -> None:
    weight = noisy((16, 12, 3, 3), (3, 4), 1.0)
    kernels = tucker.tucker2(weight, (4, 4))
    expected = np.linalg.norm(weight - composed(*kernels)) / np.linalg.norm(weight)
    assert tucker.tucker_error(weight, *kernels) == pytest.approx(expected, rel=1e-10)


def test_zero_weight_is_no_trouble() -> None:
    kernels = tucker.tucker2(np.zeros((4, 3, 3, 3)), (2, 2))
    assert tucker.tucker_error(np.zeros((4, 3, 3, 3)), *kernels) == 0


@pytest.mark.parametrize("ranks", [(0, 1), (4, 1), (1, 6)])
def test_ranks_must_fit(ranks: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="ranks"):
        tucker.tucker2(np.ones((5, 3, 3, 3)), ranks)


def test_ratio_must_shrink() -> None:
    with pytest.raises(ValueError, match="ratio"):
        tucker.tucker_ranks_for_ratio((8, 8, 3, 3), 1.0)
