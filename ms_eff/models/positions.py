"""Learned positions carried over to another grid of patches; NumPy only."""

from __future__ import annotations

import math

import numpy as np

__all__ = ["resize_grid", "resize_positions"]

# the cubic kernel's free parameter, as Pillow and timm's (anti-aliased) resampling have it
_CUBIC = -0.5


def resize_positions(
    positions: np.ndarray, grid: tuple[int, int], prefix: int
) -> tuple[np.ndarray, tuple[int, int]] | None:
    """Resample position embeddings to another grid, as timm does; those of tokens stay.

    Args:
        positions: (1, prefix + n * n, dim), of a square grid, row by row.
        grid: rows and columns that are wanted.
        prefix: leading positions that belong to no patch (the class token's).

    Returns:
        The positions (1, prefix + rows * columns, dim) and the grid they came from; None if they
        are of no square grid.

    >>> resize_positions(np.ones((1, 5, 8)), (3, 4), prefix=1)[0].shape
    (1, 13, 8)
    """
    if positions.ndim != 3 or positions.shape[0] != 1 or positions.shape[1] <= prefix:
        return None
    side = math.isqrt(positions.shape[1] - prefix)
    if side * side != positions.shape[1] - prefix:
        return None
    tokens, patches = positions[:, :prefix], positions[:, prefix:]
    dim = positions.shape[2]
    resized = resize_grid(patches.reshape(side, side, dim), grid).reshape(1, -1, dim)
    return np.concatenate([tokens, resized.astype(positions.dtype)], axis=1), (side, side)


def resize_grid(values: np.ndarray, grid: tuple[int, int]) -> np.ndarray:
    """Resample ``(rows, columns, dim)`` to another grid: bicubic, anti-aliased, in float64.

    Pixel centres lie at halves (``align_corners=False``), and weights beyond the border are
    dropped and the rest scaled up, as torch's and Pillow's resampling do.
    """
    rows, columns = (_weights(values.shape[axis], grid[axis]) for axis in (0, 1))
    return np.einsum("ra,cb,abd->rcd", rows, columns, values.astype(np.float64), optimize=True)


def _weights(old: int, new: int) -> np.ndarray:
    """Return the matrix (new, old) that resamples one axis."""
    stretch = max(old / new, 1.0)  # shrinking widens the kernel: that is the anti-aliasing
    centres = (np.arange(new) + 0.5) * old / new
    distance = (np.arange(old)[None] + 0.5 - centres[:, None]) / stretch
    weights = _cubic(np.abs(distance))
    return weights / weights.sum(axis=1, keepdims=True)


def _cubic(x: np.ndarray) -> np.ndarray:
    """Return Keys' cubic kernel at distances from 0."""
    a = _CUBIC
    inner = ((a + 2) * x - (a + 3)) * x**2 + 1
    outer = ((x - 5) * x + 8) * x * a - 4 * a
    return np.where(x < 1, inner, np.where(x < 2, outer, 0.0))
