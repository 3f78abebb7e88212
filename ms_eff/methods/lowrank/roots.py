"""Second moments in factors: what puts one on a weight, and takes it off again; NumPy and SciPy.

`weighted.py` says what they are for. Everything is in float64.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ms_eff.linalg import linalg
from ms_eff.methods.lowrank.core import matmul

__all__ = ["InputMoment", "Root", "Triangle", "damped", "output_root", "root"]

Array = NDArray[np.float64]

# a triangle whose diagonal falls further is not trusted with telling rank from rounding
_STEEPEST = 1e5


@dataclass(frozen=True)
class Root:
    """A positive semidefinite matrix of rank r in factors `T T^T`, and how to undo them.

    What is not asked for is not worked out.

    Attributes:
        vectors: (n, r) eigenvectors.
        scales: (r,) roots of their eigenvalues, none of them zero.
    """

    vectors: Array
    scales: Array

    @cached_property
    def factor(self) -> Array:
        """T (n, r); a column of zeros where the matrix is zero."""
        return self.vectors * self.scales if self.scales.size else np.zeros((len(self.vectors), 1))

    @cached_property
    def half(self) -> Array:
        """The symmetric root (n, n): `half @ half` is the matrix."""
        return matmul(self.vectors * self.scales, self.vectors.T)

    @cached_property
    def inverse(self) -> Array:
        """The pseudo-inverse (n, n) of `half`: zero where the matrix has no rank."""
        return matmul(self.vectors / self.scales, self.vectors.T)

    def turned(self, W: Array) -> Array:
        """Return `half W`: its squares sum up to `tr(W^T matrix W)`."""
        return matmul(self.half, W)

    def undone(self, V: Array) -> Array:
        """Return what `turned` makes V of, or its part of V where the matrix has no full rank."""
        return matmul(self.inverse, V)


@dataclass(frozen=True)
class Triangle:
    """A positive definite matrix in factors `L L^T`: a thirtieth of a root's time.

    Attributes:
        lower: L (n, n).
    """

    lower: Array

    def turned(self, W: Array) -> Array:
        """Return `L^T W`: its squares sum up to `tr(W^T matrix W)`."""
        return matmul(self.lower.T, W)

    def undone(self, V: Array) -> Array:
        """Return what `turned` makes V of."""
        return linalg.solve_triangular(self.lower, V, trans=1, lower=True, check_finite=False)


def root(matrix: ArrayLike) -> Root:
    """Return the root of a symmetric positive semidefinite matrix of any rank.

    Eigenvalues below `n eps` of the largest are rounding and count as zero, in both members.

    Raises:
        ValueError: it is not square, or not finite.

    >>> found = root([[4.0, 0.0], [0.0, 0.0]])
    >>> found.half.tolist(), found.inverse.tolist()
    ([[2.0, 0.0], [0.0, 0.0]], [[0.5, 0.0], [0.0, 0.0]])
    """
    values, vectors = linalg.eigh(_square(matrix), driver="evd", check_finite=False)
    kept = values > max(values[-1], 0.0) * len(values) * np.finfo(np.float64).eps
    return Root(np.ascontiguousarray(vectors[:, kept]), np.sqrt(values[kept]))


def output_root(matrix: ArrayLike) -> Root | Triangle:
    """Return factors of F: triangular where it is as well-conditioned as damping makes it.

    Raises:
        ValueError: it is not square, or not finite.
    """
    square = _square(matrix)
    try:
        lower = linalg.cholesky(square, lower=True, check_finite=False)
    except linalg.LinAlgError:
        return root(square)
    scales = np.diag(lower)
    return Triangle(lower) if scales.max() < _STEEPEST * scales.min() else root(square)


class InputMoment:
    """G of what some layers are fed; they share its root, which few of them need.

    Args:
        matrix: G (n, n), of any rank.
    """

    def __init__(self, matrix: ArrayLike) -> None:
        self.matrix = _square(matrix)

    @cached_property
    def root(self) -> Root:
        """The root, taken the first time that it is asked for."""
        return root(self.matrix)


def damped(matrix: ArrayLike, share: float) -> Array:
    """Return a second moment plus `share` of its mean eigenvalue on the diagonal.

    A matrix of zeros (gradients or inputs that vanish) becomes a tiny multiple of the identity:
    nothing is known, and next to nothing is lost.

    >>> damped([[2.0, 0.0], [0.0, 0.0]], 0.1).tolist()
    [[2.1, 0.0], [0.0, 0.1]]
    """
    result = _square(matrix).copy()
    mean = float(np.trace(result)) / len(result)
    result[np.diag_indices_from(result)] += max(share * mean, float(np.finfo(np.float32).tiny))
    return result


def _square(matrix: ArrayLike) -> Array:
    array = np.asarray(matrix, dtype=np.float64)
    if array.ndim != 2 or array.shape[0] != array.shape[1] or array.size == 0:
        raise ValueError(f"second moment: expected a square matrix, got shape {array.shape}")
    if not np.isfinite(array).all():
        raise ValueError(f"second moment: the {array.shape} matrix holds NaN or infinity")
    return array
