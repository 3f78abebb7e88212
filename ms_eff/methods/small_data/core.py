"""The filters that whiten image patches: NumPy, no MindSpore."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from ms_eff.errors import DataError

__all__ = ["patch_moments", "whitening_filters"]


def patch_moments(
    batches: Iterable[NDArray[np.float32]], patch: int
) -> tuple[NDArray[np.float64], int]:
    """Return the second moment of all patches, stride 1, none reaching over the border.

    `X^T X / (n - 1)` as in arXiv:2309.03965's code: no mean is subtracted, for a convolution
    subtracts none either.

    Args:
        batches: (B, C, H, W) images.
        patch: side of a patch in pixels.

    Returns:
        (C p p, C p p), and the number of patches n.

    Raises:
        DataError: there are fewer than two patches.
    """
    total: NDArray[np.float64] | None = None
    patches = 0
    for images in batches:
        windows = sliding_window_view(images, (patch, patch), axis=(2, 3))  # type: ignore[call-overload]
        rows = windows.transpose(0, 2, 3, 1, 4, 5).reshape(-1, images.shape[1] * patch**2)
        products = (rows.T @ rows).astype(np.float64)
        total = products if total is None else total + products
        patches += len(rows)
    if total is None or patches < 2:
        raise DataError(
            f"patch_whitening.patch = {patch}: the images have {patches} patches of "
            f"{patch} x {patch}, and 2 are needed; give a smaller patch, or more images"
        )
    return total / (patches - 1), patches


def whitening_filters(
    moments: NDArray[np.float64], channels: int, patch: int, eps: float, both_signs: bool = False
) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Return filters whose outputs are uncorrelated and of equal size on such patches.

    `filter_k = v_k / sqrt(lambda_k + eps)` over the eigenvectors, largest eigenvalue first; an
    eigenvector's sign is chosen (ours) so that its largest entry is positive.

    Args:
        moments: (C p p, C p p), from `patch_moments`.
        channels: C.
        patch: p.
        eps: added to the eigenvalues.
        both_signs: append the filters' negatives.

    Returns:
        (C p p, C, p, p) filters, or twice as many, and the eigenvalues, falling.

    >>> filters, values = whitening_filters(np.diag([4.0, 1.0, 9.0, 16.0]), 1, 2, eps=0.0)
    >>> values.tolist(), filters[0].ravel().tolist()
    ([16.0, 9.0, 4.0, 1.0], [0.0, 0.0, 0.0, 0.25])
    """
    values, vectors = np.linalg.eigh(moments)
    values, vectors = values[::-1], vectors[:, ::-1]
    largest = np.abs(vectors).argmax(axis=0)
    vectors = vectors * np.sign(vectors[largest, np.arange(len(values))])
    # rounding can leave an eigenvalue of zero slightly below it
    filters = (vectors / np.sqrt(np.maximum(values, 0.0) + eps)).T.astype(np.float32)
    filters = filters.reshape(-1, channels, patch, patch)
    return (np.concatenate([filters, -filters]) if both_signs else filters), values
