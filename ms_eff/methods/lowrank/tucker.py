"""Tucker-2 of convolution weights: only the two channel modes are factorised (arXiv:2407.20266).

A weight is (S, C, kh, kw), MindSpore's layout: S outputs, C inputs. NumPy and SciPy only.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ms_eff.methods.lowrank.core import leading_vectors, matmul, singular_values

__all__ = [
    "block_diagonal",
    "composed",
    "diagonal_blocks",
    "mode_spectra",
    "mode_unfoldings",
    "tucker2",
    "tucker_error",
    "tucker_params",
    "tucker_ranks_for_ratio",
]

Array = NDArray[np.float64]


def tucker2(
    weight: ArrayLike,
    ranks: tuple[int, int],
    *,
    max_sweeps: int = 20,
    tolerance: float = 1e-6,
) -> tuple[Array, Array, Array]:
    """Return the three kernels that replace a convolution, by HOSVD and HOOI sweeps (2407.20266).

    Args:
        weight: (S, C, kh, kw).
        ranks: `r1` of the input channels (1 .. C) and `r2` of the output channels (1 .. S).
        max_sweeps: HOOI sweeps at most.
        tolerance: sweeping ends when the relative error changes by less.

    Returns:
        `first` (r1, C, 1, 1), `core` (r2, r1, kh, kw), `last` (S, r2, 1, 1).

    Raises:
        ValueError: the weight is not finite or not 4-D, or a rank is out of range.
    """
    by_output, by_input = _by_output(weight), _by_input(weight)
    (S, k, C), (r1, r2) = by_output.shape, ranks
    if not (1 <= r1 <= C and 1 <= r2 <= S):
        raise ValueError(f"ranks: expected (1 .. {C}, 1 .. {S}), got {ranks}")
    energy = float(np.sum(by_output**2))
    U, _ = leading_vectors(by_input.reshape(C, -1), r1)
    V, _ = leading_vectors(by_output.reshape(S, -1), r2)
    error = math.inf
    for _ in range(max_sweeps):
        V, _ = leading_vectors(_project(by_output, U), r2)
        U, kept = leading_vectors(_project(by_input, V), r1)
        # U and V are orthonormal: what the core does not keep is the error
        previous, error = error, math.sqrt(max(energy - kept, 0.0) / energy) if energy else 0.0
        if previous - error < tolerance:
            break
    core = matmul(V.T, _project(by_output, U)).reshape(r2, k, r1).transpose(0, 2, 1)
    kernel = np.shape(weight)[2:]
    return U.T[:, :, None, None], core.reshape(r2, r1, *kernel), V[:, :, None, None]


def composed(first: Array, core: Array, last: Array) -> Array:
    """Return the kernel (S, C, kh, kw) that the three kernels of `tucker2` stand for."""
    r2, r1, *kernel = core.shape
    inner = matmul(_by_output(core).reshape(-1, r1), first[:, :, 0, 0])
    flat = matmul(last[:, :, 0, 0], inner.reshape(r2, -1))
    S, C = len(last), first.shape[1]
    return flat.reshape(S, -1, C).transpose(0, 2, 1).reshape(S, C, *kernel)


def tucker_error(weight: ArrayLike, first: Array, core: Array, last: Array) -> float:
    """Return `||weight - composed||_F / ||weight||_F` of `tucker2`'s kernels.

    A weight of zeros has the error 0.
    """
    target = np.asarray(weight, dtype=np.float64)
    norm = float(np.linalg.norm(target))
    missed = float(np.linalg.norm(target - composed(first, core, last)))
    return missed / norm if norm else 0.0


def tucker_params(shape: tuple[int, ...], ranks: tuple[int, int]) -> int:
    """Return how many weights the three kernels have for a (S, C, kh, kw) convolution.

    >>> tucker_params((512, 512, 3, 3), (309, 309))
    1175745
    """
    S, C, kh, kw = shape
    r1, r2 = ranks
    return C * r1 + kh * kw * r1 * r2 + r2 * S


def tucker_ranks_for_ratio(shape: tuple[int, ...], ratio: float) -> tuple[int, int]:
    """Return (r1, r2) of a (S, C, kh, kw) weight for a compression of `ratio` (2407.20266, eq. 7).

    `beta = r2 / r1 = S / C`; both are floored, so the compression is `ratio` or a little above.
    A rank of 0 says that no rank gets there.

    >>> tucker_ranks_for_ratio((64, 64, 3, 3), 2.0), tucker_ranks_for_ratio((512, 512, 3, 3), 2.0)
    ((38, 38), (309, 309))
    """
    if not ratio > 1:
        raise ValueError(f"ratio: old over new parameters, must be above 1, got {ratio}")
    S, C, kh, kw = shape
    beta = S / C
    a, b, c = beta * kh * kw, C + beta * S, -C * S * kh * kw / ratio
    r1 = int((-b + math.sqrt(b * b - 4 * a * c)) / (2 * a) + 1e-9)
    r2 = S * r1 // C
    # the root is rounded: step back where that let one rank too many through
    while r1 and tucker_params(shape, (r1, r2)) * ratio > math.prod(shape):
        r1 -= 1
        r2 = S * r1 // C
    return r1, r2


def diagonal_blocks(core: ArrayLike, branches: int) -> Array:
    """Return the diagonal blocks of a core as a grouped convolution's kernel (2407.20266, eq. 8).

    What lies off the blocks is dropped: an approximation unless the core is block-diagonal.

    Args:
        core: (r2, r1, kh, kw).
        branches: N, a divisor of both ranks.

    Returns:
        (r2, r1 / N, kh, kw).

    Raises:
        ValueError: a rank is no multiple of `branches`.
    """
    array = np.asarray(core, dtype=np.float64)
    r2, r1 = array.shape[:2]
    if r1 % branches or r2 % branches:
        raise ValueError(f"branches: the core's ranks ({r1}, {r2}) are no multiples of {branches}")
    rows, columns = r2 // branches, r1 // branches
    blocks = [
        array[i * rows : (i + 1) * rows, i * columns : (i + 1) * columns] for i in range(branches)
    ]
    return np.concatenate(blocks)


def block_diagonal(grouped: ArrayLike, branches: int) -> Array:
    """Return the full core (r2, r1, kh, kw) that a grouped kernel (r2, r1 / N, kh, kw) stands for.

    >>> block_diagonal(np.ones((2, 1, 1, 1)), 2)[:, :, 0, 0].tolist()
    [[1.0, 0.0], [0.0, 1.0]]
    """
    array = np.asarray(grouped, dtype=np.float64)
    r2, columns = array.shape[:2]
    rows = r2 // branches
    full = np.zeros((r2, columns * branches, *array.shape[2:]))
    for i in range(branches):
        block = array[i * rows : (i + 1) * rows]
        full[i * rows : (i + 1) * rows, i * columns : (i + 1) * columns] = block
    return full


def mode_unfoldings(weight: ArrayLike) -> tuple[Array, Array]:
    """Return the (C, kh kw S) and (S, kh kw C) unfoldings of the two channel modes."""
    by_input, by_output = _by_input(weight), _by_output(weight)
    return by_input.reshape(len(by_input), -1), by_output.reshape(len(by_output), -1)


def mode_spectra(weight: ArrayLike) -> tuple[Array, Array]:
    """Return the singular values of the input-channel and of the output-channel unfolding.

    The squares beyond (r1, r2) bound the squared error of `tucker2` from above (HOSVD bound).
    """
    by_input, by_output = mode_unfoldings(weight)
    return singular_values(by_input), singular_values(by_output)


def _by_output(weight: ArrayLike) -> Array:
    """(S, C, kh, kw) -> (S, kh kw, C), where projecting C and unfolding S are plain products."""
    array = np.asarray(weight, dtype=np.float64)
    if array.ndim != 4 or 0 in array.shape:
        raise ValueError(f"weight: expected (S, C, kh, kw), got shape {array.shape}")
    return np.ascontiguousarray(array.reshape(*array.shape[:2], -1).transpose(0, 2, 1))


def _by_input(weight: ArrayLike) -> Array:
    """(S, C, kh, kw) -> (C, kh kw, S)."""
    return np.ascontiguousarray(_by_output(weight).transpose(2, 1, 0))


def _project(modes: Array, basis: Array) -> Array:
    """(n, k, m), (m, r) -> (n, k r): one channel mode reduced, the other unfolded."""
    n, k, m = modes.shape
    return matmul(modes.reshape(n * k, m), basis).reshape(n, -1)
