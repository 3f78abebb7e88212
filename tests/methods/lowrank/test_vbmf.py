"""The reference is what was planted: the rank of a matrix before noise was added."""

from __future__ import annotations

import numpy as np
import pytest

from ms_eff.methods.lowrank.vbmf import vbmf_rank, vbmf_tucker_ranks


def planted(C: int, S: int, rank: int, noise: float, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    low = rng.standard_normal((C, rank)) @ rng.standard_normal((rank, S))
    return low + noise * rng.standard_normal((C, S))


@pytest.mark.parametrize(
    ("C", "S", "rank", "noise"),
    [(64, 64, 10, 1.0), (60, 200, 20, 1.0), (200, 60, 3, 3.0), (100, 100, 40, 0.5)],
)
def test_planted_rank_is_recovered(C: int, S: int, rank: int, noise: float) -> None:
    for seed in range(3):
        assert vbmf_rank(planted(C, S, rank, noise, seed)) == rank


def test_scale_changes_nothing() -> None:
    W = planted(50, 70, 6, 1.0, 0)
    assert vbmf_rank(W) == vbmf_rank(1e-6 * W) == vbmf_rank(1e6 * W) == vbmf_rank(W.T) == 6


def test_pure_noise_has_rank_zero() -> None:
    assert vbmf_rank(np.random.default_rng(0).standard_normal((120, 80))) == 0


def test_components_under_the_noise_are_dropped() -> None:
    # a singular value of sigma sqrt(M) (1 + sqrt(L/M)) is the edge of the noise itself
    W = planted(100, 100, 5, 0.0, 1)
    W /= np.linalg.norm(W, 2)
    noise = np.random.default_rng(2).standard_normal((100, 100))
    assert vbmf_rank(100 * W + noise) == 5
    assert vbmf_rank(10 * W + noise) == 0


def test_without_noise_the_rank_is_the_matrixs() -> None:
    assert vbmf_rank(planted(40, 60, 7, 0.0, 3)) == 7
    assert vbmf_rank(np.zeros((4, 5))) == 0


def test_both_modes_of_a_kernel_are_recovered() -> None:
    rng = np.random.default_rng(4)
    core = rng.standard_normal((12, 8, 3, 3))
    last, first = rng.standard_normal((64, 12)), rng.standard_normal((48, 8))
    weight = np.einsum("or,rchw,ic->oihw", last, core, first)
    assert vbmf_tucker_ranks(weight + 0.5 * rng.standard_normal(weight.shape)) == (8, 12)
