"""Exact low-rank factors of matrices, in float64 on the host (arXiv:2407.20266).

A matrix is `W` of shape (C, S), C inputs and S outputs, `Y = X W`. NumPy and SciPy only.
"""

from __future__ import annotations

from fractions import Fraction

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ms_eff.linalg import blas, linalg

__all__ = [
    "LOSS_TOLERANCE",
    "align_rank",
    "break_even_rank",
    "leading_vectors",
    "matmul",
    "rank_for_ratio",
    "singular_values",
    "svd_factors",
    "truncation_error",
    "trusted_eigenvectors",
]

Array = NDArray[np.float64]

# the Gram side may cost at most this share of the Eckart-Young loss
LOSS_TOLERANCE = 1e-6


def svd_factors(W: ArrayLike, rank: int) -> tuple[Array, Array]:
    """Return `W0` (C, rank) and `W1` (rank, S), the best factors of `W` (arXiv:2407.20266).

    `W0 = U sqrt(sigma)`, `W1 = sqrt(sigma) V^T`; the loss `||W - W0 W1||_F` is within 1e-6
    (relative) of the Eckart-Young optimum, for rank-deficient matrices too.

    Raises:
        ValueError: `W` is no finite matrix, or `rank` is not in 1 .. min(C, S).

    >>> W0, W1 = svd_factors(np.diag([3.0, 2.0, 1.0]), 2)
    >>> np.allclose(W0 @ W1, np.diag([3.0, 2.0, 0.0]))
    True
    """
    W = _matrix(W)
    _check_rank(rank, min(W.shape))
    if W.shape[0] < W.shape[1]:
        W0, W1 = svd_factors(W.T, rank)
        return W1.T, W0.T
    found = _gram_vectors(W.T, rank)
    if found is None:
        U, sigma, V = _svd(W)
        root = np.sqrt(sigma[:rank])
        return U[:, :rank] * root, root[:, None] * V[:rank]
    # W0 W1 = W V V^T whatever the scale, so a rounded sigma costs nothing
    vectors, _ = found
    projected = matmul(W, vectors)
    root = np.sqrt(np.linalg.norm(projected, axis=0))
    return projected / root, root[:, None] * vectors.T


def leading_vectors(W: ArrayLike, rank: int) -> tuple[Array, float]:
    """Return the rank-`rank` left subspace of `W` that holds most energy, and that energy.

    The basis (C, rank) is orthonormal, spanned by the leading left singular vectors; the energy is
    the sum of their squared singular values, as exact as the loss of `svd_factors`.

    Raises:
        ValueError: `W` is no finite matrix, or `rank` is not in 1 .. C.

    >>> basis, energy = leading_vectors(np.diag([1.0, 5.0]), 1)
    >>> abs(basis).tolist(), round(energy, 12)
    ([[0.0], [1.0]], 25.0)
    """
    W = _matrix(W)
    _check_rank(rank, W.shape[0])
    if rank == W.shape[0]:  # the whole space: any basis is exact
        return np.eye(rank), float(np.sum(W**2))
    found = _gram_vectors(W, rank)
    if found is not None:
        return found
    # the full U, since a rank above the number of columns still wants orthonormal vectors
    U, sigma, _ = _svd(W, full=rank > W.shape[1])
    return np.ascontiguousarray(U[:, :rank]), float(np.sum(sigma[:rank] ** 2))


def trusted_eigenvectors(gram: Array, rank: int) -> tuple[Array, Array, int]:
    """Return eigenvalues and eigenvectors of a Gram matrix, and how many rounding cannot touch.

    The eigenbasis of a Gram matrix disturbed by E loses at most `2 k ||E||` of the energy that k
    vectors keep (Ky Fan), with `||E|| ~ n eps lambda_1`. The discarded energy has to dwarf that.

    Args:
        gram: (n, n), of which the upper triangle is read; it is overwritten.
        rank: how many are wanted, below n.

    Returns:
        The values (n,), largest first, the vectors (n, n), and the number, at most `rank`: the
        first so many vectors keep as much as any, and so do any fewer of the first.
    """
    values, vectors = linalg.eigh(
        gram, lower=False, driver="evd", overwrite_a=True, check_finite=False
    )
    discarded = np.cumsum(values)[len(values) - np.arange(1, rank + 1) - 1]
    rounding = 2 * np.arange(1, rank + 1) * len(values) * np.finfo(np.float64).eps * values[-1]
    # a loss is the root of an energy: half the relative change
    trusted = int(np.count_nonzero(discarded * 2 * LOSS_TOLERANCE > rounding))
    return values[::-1], vectors[:, ::-1], trusted


def singular_values(W: ArrayLike) -> Array:
    """Return the min(C, S) singular values of `W`, largest first.

    Raises:
        ValueError: `W` is no finite matrix.
    """
    return linalg.svdvals(_matrix(W), check_finite=False)


def truncation_error(W: ArrayLike, W0: Array, W1: Array) -> float:
    """Return `||W - W0 W1||_F / ||W||_F`, or 0 where `W` is zero.

    >>> truncation_error(np.diag([4.0, 3.0]), np.array([[4.0], [0.0]]), np.array([[1.0, 0.0]]))
    0.6
    """
    W = _matrix(W)
    norm = float(np.linalg.norm(W))
    return float(np.linalg.norm(W - matmul(W0, W1))) / norm if norm else 0.0


def rank_for_ratio(C: int, S: int, ratio: float) -> int:
    """Return the largest rank whose factors are `ratio` times smaller than (C, S); 0 if none is.

    `floor(C S / (ratio (C + S)))` (arXiv:2407.20266), in exact arithmetic.

    Raises:
        ValueError: `ratio` is not above 1.

    >>> rank_for_ratio(64, 64, 2.0), rank_for_ratio(2048, 1000, 2.0)
    (16, 335)
    """
    if not ratio > 1:
        raise ValueError(f"ratio: old over new parameters, must be above 1, got {ratio}")
    wanted = Fraction(repr(float(ratio)))
    return int(C * S * wanted.denominator // (wanted.numerator * (C + S)))


def break_even_rank(C: int, S: int) -> int:
    """Return the largest rank whose factors have fewer parameters than (C, S) (arXiv:2407.20266).

    >>> break_even_rank(64, 64), break_even_rank(64, 65)
    (31, 32)
    """
    return (C * S - 1) // (C + S)


def align_rank(rank: int, divisor: int) -> int:
    """Return the largest multiple of `divisor` that is not above `rank`.

    >>> align_rank(335, 16), align_rank(10, 16)
    (320, 0)
    """
    return rank - rank % divisor


def matmul(left: Array, right: Array) -> Array:
    """Return the product of two float64 matrices by SciPy's BLAS.

    NumPy 1.26, the newest that MindSpore takes, carries an OpenBLAS of 2023 that falls back to
    SSE3 kernels on CPUs newer than itself: a fifth of SciPy's speed.
    """
    # BLAS is column-major: right^T left^T, with the transposes that cost no copy
    a, a_flag = (left.T, 0) if left.flags.c_contiguous else (left, 1)
    b, b_flag = (right.T, 0) if right.flags.c_contiguous else (right, 1)
    return blas.dgemm(1.0, b, a, trans_a=b_flag, trans_b=a_flag).T


def _gram_vectors(W: Array, rank: int) -> tuple[Array, float] | None:
    """Return leading eigenvectors of `W W^T` and their energy, or None if rounding is felt."""
    if W.shape[0] > W.shape[1]:
        return None
    rows, trans = (W.T, 1) if W.flags.c_contiguous else (W, 0)
    gram = blas.dsyrk(1.0, rows, trans=trans)  # the upper triangle alone
    values, vectors, trusted = trusted_eigenvectors(gram, rank)
    if trusted < rank:
        return None
    return np.ascontiguousarray(vectors[:, :rank]), float(values[:rank].sum())


def _svd(W: Array, full: bool = False) -> tuple[Array, Array, Array]:
    try:
        return linalg.svd(W, full_matrices=full, lapack_driver="gesdd", check_finite=False)
    except linalg.LinAlgError:  # divide and conquer may fail to converge; QR iteration does not
        return linalg.svd(W, full_matrices=full, lapack_driver="gesvd", check_finite=False)


def _matrix(W: ArrayLike) -> Array:
    matrix = np.asarray(W, dtype=np.float64)
    if matrix.ndim != 2 or 0 in matrix.shape:
        raise ValueError(f"W: expected a matrix, got shape {matrix.shape}")
    if not np.isfinite(matrix).all():
        raise ValueError(f"W: the {matrix.shape} matrix holds NaN or infinity")
    return matrix


def _check_rank(rank: int, largest: int) -> None:
    if not 1 <= rank <= largest:
        raise ValueError(f"rank: expected 1 to {largest}, got {rank}")
