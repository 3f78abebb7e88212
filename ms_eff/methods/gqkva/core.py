"""Pooling and repeating of projections; NumPy only.

A qkv weight is a stack of projections of `head_dim` rows: the queries, then keys, then values.
"""

from __future__ import annotations

import numpy as np

from ms_eff.models.heads import HeadLayout

__all__ = ["pool", "relative_error", "repeat"]


def pool(qkv: np.ndarray, layout: HeadLayout) -> np.ndarray:
    """Return shared projections as the means of those they stand for.

    The recipe of arXiv:2305.13245 for keys and values; for queries it is ours. Sums are float64.

    Args:
        qkv: (3 h head_dim, ...) weight or bias of plain attention with h heads.
        layout: of the same number of heads.

    Returns:
        ((#Q + 2 #KV) head_dim, ...), of the dtype given.

    >>> pool(np.arange(6.0), HeadLayout((0, 1), (0, 0)))  # one key and one value, pooled from two
    array([0. , 1. , 2.5, 4.5])
    """
    q, k, v = np.split(qkv.reshape(3 * layout.heads, -1, *qkv.shape[1:]), 3)
    pooled = [_means(q, layout.q_index), _means(k, layout.kv_index), _means(v, layout.kv_index)]
    return np.concatenate(pooled).reshape(-1, *qkv.shape[1:]).astype(qkv.dtype)


def repeat(shared: np.ndarray, layout: HeadLayout) -> np.ndarray:
    """Return the qkv weight of the plain attention that computes the same: one copy a head.

    Args:
        shared: ((#Q + 2 #KV) head_dim, ...).
        layout: which head takes which.

    Returns:
        (3 h head_dim, ...).
    """
    parts = shared.reshape(layout.projections, -1, *shared.shape[1:])
    q, k, v = np.split(parts, [layout.queries, layout.queries + layout.keys])
    copies = [q[list(layout.q_index)], k[list(layout.kv_index)], v[list(layout.kv_index)]]
    return np.concatenate(copies).reshape(-1, *shared.shape[1:])


def relative_error(qkv: np.ndarray, shared: np.ndarray, layout: HeadLayout) -> float:
    """Return how far the shared projections are from those they stand for, in Frobenius norm."""
    lost = qkv.astype(np.float64) - repeat(shared, layout)
    norm = np.linalg.norm(qkv.astype(np.float64))
    return float(np.linalg.norm(lost) / norm) if norm > 0 else 0.0


def _means(projections: np.ndarray, index: tuple[int, ...]) -> np.ndarray:
    chosen = np.asarray(index)
    groups = [
        projections[chosen == n].mean(axis=0, dtype=np.float64) for n in range(max(index) + 1)
    ]
    return np.stack(groups)
