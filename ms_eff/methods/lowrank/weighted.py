"""Low-rank factors that lose least on real data, in closed form (ours; K-FAC: arXiv:1503.05671).

A layer's second moments say what an error D = W - W' of its weight costs: G (n, n) of its inputs
and F (S, S) of the loss gradients at its outputs. The loss is `tr(F D G D^T)`, the Kronecker form
of the quadratic loss increase; F = I leaves the error of the layer's output, both left out the
plain weight error. Weights are in MindSpore's layouts: (S, C), or (S, C, kh, kw) with n = C kh kw,
the order of im2col patches. NumPy and SciPy only, exact, in float64.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ms_eff.methods.lowrank.core import (
    LOSS_TOLERANCE,
    leading_vectors,
    matmul,
    singular_values,
    trusted_eigenvectors,
)
from ms_eff.methods.lowrank.roots import InputMoment, Root, Triangle, output_root, root

__all__ = [
    "Nested",
    "nested_factors",
    "weighted_factors",
    "weighted_loss",
    "weighted_spectrum",
    "whitened_factors",
]

Array = NDArray[np.float64]


def weighted_loss(error: ArrayLike, G: Array | None = None, F: Array | None = None) -> float:
    """Return `tr(F D G D^T)` of an error D (S, n) or (S, C, kh, kw); a matrix left out is I.

    >>> weighted_loss([[1.0, 2.0]], G=np.diag([3.0, 1.0]), F=np.array([[2.0]]))
    14.0
    """
    missed = _matrix(error)
    left = missed if F is None else matmul(np.asarray(F, np.float64), missed)
    right = missed if G is None else matmul(missed, np.asarray(G, np.float64))
    return max(float(np.sum(left * right)), 0.0)


def weighted_spectrum(weight: ArrayLike, G: Array | None = None, F: Array | None = None) -> Array:
    """Return the singular values of `F^(1/2) W G^(1/2)`, largest first.

    The squares beyond R sum up to the least loss that a matrix of rank R can have.

    Args:
        weight: (S, C).
        G: (C, C), or None for I.
        F: (S, S), or None for I.
    """
    W = _matrix(weight)
    left = W if F is None else output_root(F).turned(W)
    return singular_values(left if G is None else matmul(left, root(G).half))


def weighted_factors(
    weight: ArrayLike, rank: int, G: Array | None = None, F: Array | None = None
) -> tuple[Array, Array]:
    """Return `first` (rank, C) and `last` (S, rank) with the least `tr(F D G D^T)`.

    The optimum is the truncated SVD of `F^(1/2) W G^(1/2)`, both roots undone (Eckart-Young). Each
    column of `last` and row of `first` have equal norms, as those of `svd_factors`.

    Args:
        weight: (S, C).
        rank: 1 .. min(S, C).
        G: (C, C) of any rank, or None for I.
        F: (S, S), or None for I; outputs in its null space become zero, so damp it.

    Raises:
        ValueError: a matrix is not finite, or the rank is out of range.

    >>> first, last = weighted_factors(np.diag([3.0, 1.0]), 1, G=np.diag([1.0, 100.0]))
    >>> (abs(last @ first)).round(12).tolist()
    [[0.0, 0.0], [0.0, 1.0]]
    """
    W = _matrix(weight)
    if not 1 <= rank <= min(W.shape):
        raise ValueError(f"rank: expected 1 to {min(W.shape)}, got {rank}")
    inputs = None if G is None else InputMoment(G)
    first, last, _ = whitened_factors(W, rank, inputs, None if F is None else output_root(F))
    return _balanced(first, last)


@dataclass(frozen=True)
class Nested:
    """Factors of one rank that hold those of every lower rank: take the leading components.

    Attributes:
        first: (R, C); its leading r rows are the best `first` of rank r.
        last: (S, R); likewise its leading r columns.
        energies: (R + 1,) squared singular values of `F^(1/2) W G^(1/2)`; the last is the sum of
            those beyond R.
    """

    first: Array
    last: Array
    energies: Array

    @property
    def losses(self) -> Array:
        """(R,) what ranks 1 .. R lose: `tr(F D G D^T)`."""
        return np.cumsum(self.energies[::-1])[::-1][1:]


def nested_factors(
    weight: ArrayLike,
    rank: int,
    inputs: InputMoment | None = None,
    gradients: Root | Triangle | None = None,
) -> Nested:
    """Return the factors of `weighted_factors` for all ranks up to one.

    One decomposition then serves a whole family of sizes.

    Args:
        weight: (S, C).
        rank: the highest, 1 .. min(S, C) - 1 (at the full rank, the order is left open).
        inputs: G (C, C), which layers with the same inputs share; None for I.
        gradients: `output_root` of F (S, S); None for I.

    Raises:
        ValueError: the weight is not finite, or the rank is out of range.

    >>> found = nested_factors(np.diag([3.0, 2.0, 1.0]), 2)
    >>> found.losses.round(9).tolist()
    [5.0, 1.0]
    """
    W = _matrix(weight)
    if not 1 <= rank < min(W.shape):
        raise ValueError(f"rank: expected 1 to {min(W.shape) - 1}, got {rank}")
    first, last, energies = whitened_factors(W, rank, inputs, gradients)
    return Nested(*_balanced(first, last), energies)


def whitened_factors(
    W: Array, rank: int, inputs: InputMoment | None, gradients: Root | Triangle | None
) -> tuple[Array, Array, Array]:
    """Return the factors of `weighted_factors` without scaling, and the `energies` of `Nested`.

    With F = T T^T and V the leading left vectors of `T^T W G^(1/2)` they are `V^T T^T W` and
    `T^(-T) V`. No root of G is undone, so an ill-conditioned one costs no accuracy; and where G
    has no rank, which leaves the optimum open, inputs never seen are treated as those that were.

    Args:
        W: (S, n).
        rank: 1 .. S.
        inputs: G (n, n); None for I.
        gradients: `output_root` of F (S, S); None for I.
    """
    left = W if gradients is None else gradients.turned(W)
    V, energies = _leading(left, rank, inputs)
    return matmul(V.T, left), V if gradients is None else gradients.undone(V), energies


def _leading(left: Array, rank: int, inputs: InputMoment | None) -> tuple[Array, Array]:
    """Return the leading left vectors of `left G^(1/2)`, and their energies with the rest's sum.

    They are the eigenvectors of `left G left^T`: with no more outputs than inputs, G needs no root
    unless next to no energy is left out.
    """
    S, n = left.shape
    if not np.isfinite(left).all():
        raise ValueError(f"weight: the {left.shape} matrix holds NaN or infinity")
    if inputs is not None and n >= S:
        found = _leading_by_stages(left, rank, inputs.matrix)
        if found is not None:
            return found
    seen = left if inputs is None else matmul(left, inputs.root.factor)
    V, _ = leading_vectors(seen, rank)
    # rows of V^T seen are as long as the singular values
    squares = np.sum(matmul(V.T, seen) ** 2, axis=1)
    return V, np.append(squares, max(float(np.sum(seen**2)) - float(squares.sum()), 0.0))


def _leading_by_stages(left: Array, rank: int, G: Array) -> tuple[Array, Array] | None:
    """Return leading eigenvectors of `left G left^T` and energies, or None if rounding is felt.

    A few inputs far larger than the others (language models have them) drown the rest in rounding.
    So each stage keeps the vectors that it can be sure of, and the next one looks at what is left
    over, in a basis that no longer holds them.
    """
    rows, basis, missing = left, None, rank
    vectors, energies, blurs = [], [], list[tuple[float, float]]()
    while True:
        gram = matmul(rows, matmul(G, rows.T))
        if missing == len(gram):  # all that there is: any basis is exact
            values, found, trusted = np.diag(gram), np.eye(missing), missing
        else:
            values, found, trusted = trusted_eigenvectors(gram.T, missing)
        if not trusted:
            return None
        kept = np.ascontiguousarray(found[:, :trusted])
        vectors.append(kept if basis is None else matmul(basis, kept))
        energies.append(values[:trusted])
        missing -= trusted
        if not missing:
            break
        blur = len(values) * np.finfo(np.float64).eps * float(values[0])
        blurs.append((float(values[trusted - 1]), float(len(values) * blur**2)))
        others = np.ascontiguousarray(found[:, trusted:])
        basis = others if basis is None else matmul(basis, others)
        rows = matmul(others.T, rows)
    rest = values[trusted:]
    discarded = max(float(rest.sum()), 0.0)
    if _exchanged(blurs, float(rest[0]) if len(rest) else 0.0) > LOSS_TOLERANCE * discarded:
        return None
    return np.hstack(vectors), np.append(np.concatenate(energies), discarded)


def _exchanged(blurs: Sequence[tuple[float, float]], left_out: float) -> float:
    """Return the energy that vectors of earlier stages may lack for what was left out at the end.

    Between two vectors it is the square of their product, which is rounding, over the difference
    of their energies.

    Args:
        blurs: of each earlier stage, the least energy it kept and the squares' sum.
        left_out: the largest energy left out.
    """
    return sum(squares / max(least - left_out, 1e-300) for least, squares in blurs)


def _balanced(first: Array, last: Array) -> tuple[Array, Array]:
    """Give each row of `first` and column of `last` the same norm."""
    norms = np.linalg.norm(first, axis=1), np.linalg.norm(last, axis=0)
    scale = np.sqrt(np.divide(*norms, out=np.ones(len(first)), where=norms[1] > 0))
    scale[scale == 0] = 1.0
    return first / scale[:, None], last * scale


def _matrix(weight: ArrayLike) -> Array:
    array = np.asarray(weight, dtype=np.float64)
    if array.ndim < 2 or 0 in array.shape:
        raise ValueError(f"weight: expected (S, C) or (S, C, kh, kw), got shape {array.shape}")
    return array.reshape(len(array), -1)
