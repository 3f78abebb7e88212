"""Tucker-2 of a convolution that loses least on real data (ours).

The weights and second moments are those of `weighted.py`: G (n, n) of the im2col patches, with
n = C kh kw, and F (S, S) of the loss gradients at the outputs. NumPy and SciPy only, in float64.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ms_eff.linalg import linalg
from ms_eff.methods.lowrank.core import matmul
from ms_eff.methods.lowrank.roots import InputMoment, Root, root
from ms_eff.methods.lowrank.tucker import tucker2
from ms_eff.methods.lowrank.weighted import weighted_loss, whitened_factors

__all__ = ["channel_moment", "weighted_spectra", "weighted_tucker2"]

Array = NDArray[np.float64]

# of the mean eigenvalue: far above rounding for a Cholesky factor, far below what counts
_RIDGE = 1e-10


def weighted_tucker2(
    weight: ArrayLike, ranks: tuple[int, int], G: Array, F: Array | None = None
) -> tuple[Array, Array, Array]:
    """Return the three kernels that replace a convolution, chosen by `tr(F D G D^T)`.

    The input subspace is that of `tucker2` for the weight times `F^(1/2)` on the output mode and
    the root of the channels' own second moment on the input mode, which then is undone. Core and
    output factor are the optimum for that subspace under the whole G. The same is done with the
    subspace of the weight alone, and the better of both is returned: never worse than `tucker2`.

    Args:
        weight: (S, C, kh, kw).
        ranks: `r1` of the input channels (1 .. C) and `r2` of the output channels (1 .. S).
        G: (n, n) of any rank.
        F: (S, S), or None for I; damp it.

    Returns:
        `first` (r1, C, 1, 1), `core` (r2, r1, kh, kw), `last` (S, r2, 1, 1); the rows of `first`
        are orthonormal, the columns of `last` of unit length.

    Raises:
        ValueError: a matrix is not finite, or a rank is out of range.
    """
    W = np.asarray(weight, np.float64)
    flat, (r1, r2) = W.reshape(len(W), -1), ranks
    gradients = None if F is None else root(F)
    channels = root(channel_moment(G, W.shape[1]))
    found = []
    for basis in (_weighted_basis(W, ranks, channels, gradients), _plain_basis(W, ranks)):
        core, last = _best_core(flat, basis, r2, G, gradients)
        loss = weighted_loss(flat - matmul(last, _turned(core, basis.T)), G, F)
        found.append((loss, basis, core, last))
    _, basis, core, last = min(found, key=lambda candidate: candidate[0])
    lengths = np.linalg.norm(last, axis=0)
    lengths[lengths == 0] = 1.0
    core = (core * lengths[:, None]).reshape(r2, r1, *W.shape[2:])
    return basis.T[:, :, None, None], core, (last / lengths)[:, :, None, None]


def weighted_spectra(weight: ArrayLike, G: Array, F: Array | None = None) -> tuple[Array, Array]:
    """Return what each direction of the input and of the output channels is worth.

    The squares beyond r1 of the first (C,) are the least loss of a fixed order of nested input
    subspaces (those that `weighted_tucker2` starts from), so they need not fall one by one; those
    beyond r2 of the second (S,) belong to the singular values of `F^(1/2) W G^(1/2)`. Both sums
    together bound the least loss at (r1, r2) from above, as the HOSVD bound does that of `tucker2`.

    Args:
        weight: (S, C, kh, kw).
        G: (n, n) of any rank.
        F: (S, S), or None for I.
    """
    W = np.asarray(weight, np.float64)
    S, C = W.shape[:2]
    left = W.reshape(S, -1) if F is None else matmul(root(F).half, W.reshape(S, -1))
    # by the Gram side: a budget needs no more digits of the tails than of the whole
    energies = linalg.eigvalsh(matmul(matmul(left, G), left.T), check_finite=False)[::-1]
    channels = root(channel_moment(G, C))
    by_input = _turned(left, channels.half).reshape(S, C, -1).transpose(1, 0, 2).reshape(C, -1)
    _, order = linalg.eigh(matmul(by_input, by_input.T), check_finite=False)
    basis, _ = np.linalg.qr(matmul(channels.inverse, np.ascontiguousarray(order[:, ::-1])))
    return _nested(left, basis, G), np.sqrt(np.maximum(energies, 0.0))


def channel_moment(G: Array, C: int) -> Array:
    """Return the second moment (C, C) of single pixels: the mean over the taps' diagonal blocks.

    >>> channel_moment(np.diag([1.0, 3.0, 2.0, 2.0]), 2).tolist()
    [[2.0, 0.0], [0.0, 2.0]]
    """
    taps = len(G) // C
    blocks = np.asarray(G, np.float64).reshape(C, taps, C, taps)
    return np.einsum("itjt->ij", blocks) / taps


def _weighted_basis(
    W: Array, ranks: tuple[int, int], channels: Root, gradients: Root | None
) -> Array:
    """Return an orthonormal basis (C, r1) from Tucker-2 of the weight with the roots on it."""
    S = len(W)
    left = W.reshape(S, -1) if gradients is None else matmul(gradients.half, W.reshape(S, -1))
    first, _, _ = tucker2(_turned(left, channels.half).reshape(W.shape), ranks)
    return np.linalg.qr(matmul(channels.inverse, np.ascontiguousarray(first[:, :, 0, 0].T)))[0]


def _plain_basis(W: Array, ranks: tuple[int, int]) -> Array:
    return np.ascontiguousarray(tucker2(W, ranks)[0][:, :, 0, 0].T)


def _best_core(
    flat: Array, basis: Array, rank: int, G: Array, gradients: Root | None
) -> tuple[Array, Array]:
    """Return `core` (r2, r1 taps) and `last` (S, r2), the optimum for an input subspace.

    With P the basis on every tap and B = P^T G P, least squares give the unconstrained core
    `W P + (W - W P P^T) G P B^+`: the weight itself, and what the kept channels tell about those
    that were dropped. Its best truncation is that of `F^(1/2) core B^(1/2)`.
    """
    seen = _turned(G, basis)
    kept = InputMoment(_turned(np.ascontiguousarray(seen.T), basis))
    inside = _turned(flat, basis)
    outside = flat - _turned(inside, basis.T)
    told = matmul(matmul(matmul(outside, seen), kept.root.inverse), kept.root.inverse)
    return whitened_factors(inside + told, rank, kept, gradients)[:2]


def _nested(left: Array, basis: Array, G: Array) -> Array:
    """Return the root of the energy that each next direction of a basis (C, C) adds.

    In its order, `x = L z` with white z and a Cholesky factor L: what the first r directions tell
    about the output is in the first r blocks of columns of `W L`. The ridge bounds the condition
    number, by n over the ridge, whatever the rank of G.
    """
    turned = _turned(np.ascontiguousarray(_turned(G, basis).T), basis)
    turned[np.diag_indices_from(turned)] += _RIDGE * max(np.trace(turned) / len(turned), 1e-300)
    columns = matmul(_turned(left, basis), linalg.cholesky(turned, lower=True, check_finite=False))
    return np.sqrt(np.sum(columns.reshape(len(left), len(basis), -1) ** 2, axis=(0, 2)))


def _turned(rows: Array, basis: Array) -> Array:
    """(m, C taps), (C, r) -> (m, r taps): the channels of each row in another basis."""
    m, (C, r) = len(rows), basis.shape
    by_tap = np.ascontiguousarray(rows.reshape(m, C, -1).transpose(0, 2, 1))
    turned = matmul(by_tap.reshape(-1, C), np.asarray(basis, order="C"))
    return np.ascontiguousarray(turned.reshape(m, -1, r).transpose(0, 2, 1)).reshape(m, -1)
