"""The references are chains of matrices, written out."""

from __future__ import annotations

import numpy as np
import pytest

from ms_eff.methods.lowrank.merge import Affine, folded_norm, merge_weights
from ms_eff.methods.lowrank.tucker import block_diagonal, diagonal_blocks, tucker2
from tests.tolerances import HOST

RNG = np.random.default_rng(5)


def affine(width: int) -> Affine:
    return Affine(RNG.uniform(0.5, 2, width), RNG.standard_normal(width))


def block(C: int = 20, w: int = 8, S: int = 24, k: int = 3):
    kernels = tuple(RNG.standard_normal(s) for s in ((w, C, 1, 1), (w, w, k, k), (S, w, 1, 1)))
    return kernels, (affine(w), affine(w))


@pytest.mark.parametrize("branches", [1, 2])
def test_merged_matrices_are_the_chain_of_five(branches: int) -> None:
    kernels, (before, after) = block()
    found = merge_weights(kernels, (before, after), (4, 6), branches)
    U, core, V = tucker2(kernels[1], (4, 6))
    core = block_diagonal(diagonal_blocks(core, branches), branches)
    inner, outer = kernels[0][..., 0, 0], kernels[2][..., 0, 0]
    x = RNG.standard_normal(20)
    for tap in np.ndindex(3, 3):  # one pixel through one tap: the rest is linear
        chain = before.scale * (inner @ x) + before.shift
        chain = V[..., 0, 0] @ (core[(..., *tap)] @ (U[..., 0, 0] @ chain))
        chain = outer @ (after.scale * chain + after.shift)
        full = block_diagonal(found.core, branches)[(..., *tap)]
        merged = full @ (found.conv1[..., 0, 0] @ x + found.bias1)
        merged = found.conv3[..., 0, 0] @ merged + found.bias3
        np.testing.assert_allclose(merged, chain, atol=HOST, rtol=HOST)


def test_full_rank_is_the_block_without_its_relus() -> None:
    kernels, norms = block(k=1)
    found = merge_weights(kernels, norms, (8, 8), bias3=np.ones(24))
    inner, middle, outer = (k[..., 0, 0] for k in kernels)
    x = RNG.standard_normal(20)
    y = norms[0].scale * (inner @ x) + norms[0].shift
    y = outer @ (norms[1].scale * (middle @ y) + norms[1].shift) + 1
    merged = found.core[..., 0, 0] @ (found.conv1[..., 0, 0] @ x + found.bias1)
    np.testing.assert_allclose(found.conv3[..., 0, 0] @ merged + found.bias3, y, atol=HOST)
    assert found.error < HOST


def test_a_folded_norm_is_the_norm() -> None:
    gamma, beta, mean, bias = RNG.standard_normal((4, 6))
    variance, x = RNG.uniform(0.1, 2, 6), RNG.standard_normal((9, 6))
    map = folded_norm(gamma, beta, mean, variance, 1e-5, bias)
    expected = gamma * (x + bias - mean) / np.sqrt(variance + 1e-5) + beta
    np.testing.assert_allclose(map.scale * x + map.shift, expected, atol=HOST)


def test_branches_sum_to_the_grouped_form() -> None:
    """The sum over n of V_n core_n U_n, with the slices cut by hand."""
    first, core, last = tucker2(RNG.standard_normal((10, 12, 3, 3)), (6, 9))
    grouped = diagonal_blocks(core, 3)
    assert grouped.size == core.size // 3
    whole = np.einsum("sb,bahw,ac->schw", last[..., 0, 0], block_diagonal(grouped, 3),
                      first[..., 0, 0])  # fmt: skip
    total = np.zeros_like(whole)
    for n in range(3):
        U, V = first[2 * n : 2 * n + 2, :, 0, 0], last[:, 3 * n : 3 * n + 3, 0, 0]
        inner = core[3 * n : 3 * n + 3, 2 * n : 2 * n + 2]
        total += np.einsum("sb,bahw,ac->schw", V, inner, U)
    np.testing.assert_allclose(total, whole, atol=HOST)


def test_one_branch_and_a_block_diagonal_core_are_exact() -> None:
    core = RNG.standard_normal((4, 6, 3, 3))
    np.testing.assert_array_equal(diagonal_blocks(core, 1), core)
    sparse = block_diagonal(diagonal_blocks(core, 2), 2)
    assert np.count_nonzero(sparse) == core.size // 2
    np.testing.assert_array_equal(block_diagonal(diagonal_blocks(sparse, 2), 2), sparse)
    with pytest.raises(ValueError, match=r"ranks \(6, 4\) are no multiples of 4"):
        diagonal_blocks(core, 4)
