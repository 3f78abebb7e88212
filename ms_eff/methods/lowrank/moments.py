"""Second moments of a layer's inputs and of the loss gradients at its outputs; NumPy and SciPy.

Added up batch by batch in float64, so that memory does not grow with the data. `weighted.py` says
what they are for.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ms_eff.linalg import blas

__all__ = ["MomentSum", "Moments", "Window", "patch_rows"]

Array = NDArray[np.float64]

# elements of patches that are spelled out at a time: 64 MiB in float64
_CHUNK = 1 << 23


@dataclass(frozen=True)
class Moments:
    """What the calibration data say about one layer.

    Attributes:
        inputs: G (n, n), the mean over samples of the sum over positions of x x^T, x an input
            vector or an im2col patch (C kh kw). The sum makes losses of layers that see many
            pixels comparable with those of layers that see few (arXiv:1602.01407, eq. 20).
        gradients: F (S, S), the mean over samples and positions of g g^T; None if not asked for.
    """

    inputs: Array
    gradients: Array | None = None


@dataclass(frozen=True)
class Window:
    """How a convolution cuts its input into patches.

    Attributes:
        kernel: (kh, kw).
        stride: likewise.
        dilation: likewise.
        padding: (top, bottom, left, right); None is MindSpore's `same`: as much as makes the output
            ceil(input / stride), the odd one at the end.
    """

    kernel: tuple[int, int] = (1, 1)
    stride: tuple[int, int] = (1, 1)
    dilation: tuple[int, int] = (1, 1)
    padding: tuple[int, int, int, int] | None = (0, 0, 0, 0)

    def pads(self, height: int, width: int) -> tuple[tuple[int, int], tuple[int, int]]:
        """Return (top, bottom), (left, right) for an input of that size."""
        if self.padding is not None:
            return self.padding[:2], self.padding[2:]
        pairs = []
        for axis, size in enumerate((height, width)):
            reach = (self.kernel[axis] - 1) * self.dilation[axis] + 1
            total = max((-(-size // self.stride[axis]) - 1) * self.stride[axis] + reach - size, 0)
            pairs.append((total // 2, total - total // 2))
        return pairs[0], pairs[1]


def patch_rows(
    images: np.ndarray, window: Window, limit: int | None, rng: np.random.Generator
) -> tuple[np.ndarray, int]:
    """Return patches (N, P, n) of images (N, C, H, W), and how many positions there are.

    Args:
        images: the input of a convolution.
        window: its geometry.
        limit: at most that many positions, drawn without replacement, the same for all N.
        rng: draws them.

    >>> rows, positions = patch_rows(np.arange(9.).reshape(1, 1, 3, 3), Window((2, 2)), None,
    ...                              np.random.default_rng(0))
    >>> positions, rows[0, 0].tolist()
    (4, [0.0, 1.0, 3.0, 4.0])
    """
    pads = window.pads(*images.shape[2:])
    padded = np.pad(images, ((0, 0), (0, 0), *pads))
    reach = [(k - 1) * d + 1 for k, d in zip(window.kernel, window.dilation, strict=True)]
    height, width = (
        (size - r) // s + 1
        for size, r, s in zip(padded.shape[2:], reach, window.stride, strict=True)
    )
    chosen = _chosen(height * width, limit, rng)
    rows = (chosen // width * window.stride[0])[:, None, None] + (
        np.arange(window.kernel[0]) * window.dilation[0]
    )[:, None]
    columns = (chosen % width * window.stride[1])[:, None, None] + (
        np.arange(window.kernel[1]) * window.dilation[1]
    )
    patches = padded[:, :, rows, columns].transpose(0, 2, 1, 3, 4)  # (N, P, C, kh, kw)
    return patches.reshape(len(images), len(chosen), -1), height * width


@dataclass
class MomentSum:
    """The running sums of one layer.

    Attributes:
        limit: positions of a sample that are looked at; the rest is taken to be like them.
        rng: draws them.
    """

    limit: int
    rng: np.random.Generator
    _inputs: Array | None = None
    _gradients: Array | None = None
    _rows: int = field(default=0)

    def add_inputs(self, x: np.ndarray, window: Window | None, samples: int) -> None:
        """Add the inputs (.., C) of a dense layer, or (N, C, H, W) of a convolution's `window`.

        `samples` is how many the batch has; without a window all axes but the last are positions.
        """
        if window is None:
            rows = x.reshape(-1, x.shape[-1])
            chosen = _chosen(len(rows), self.limit * samples, self.rng)
            share = len(rows) / len(chosen)
            self._inputs = _added(self._inputs, rows[chosen], share)
            return
        taps, positions = window.kernel[0] * window.kernel[1], 0
        size = x.shape[1] * taps * min(self.limit, x.shape[2] * x.shape[3])
        step = max(_CHUNK // size, 1)
        for start in range(0, len(x), step):
            rows, positions = patch_rows(x[start : start + step], window, self.limit, self.rng)
            share = positions / rows.shape[1]
            self._inputs = _added(self._inputs, rows.reshape(-1, rows.shape[2]), share)

    def add_gradients(self, g: np.ndarray, by_channel: bool, samples: int) -> None:
        """Add the loss gradients (.., S), or (N, S, H, W) if `by_channel`, at the outputs."""
        rows = np.moveaxis(g, 1, -1) if by_channel else g
        rows = rows.reshape(-1, rows.shape[-1])
        chosen = _chosen(len(rows), self.limit * samples, self.rng)
        self._gradients = _added(self._gradients, rows[chosen], 1.0)
        self._rows += len(chosen)

    def mean(self, samples: int) -> Moments | None:
        """Return the moments over that many samples; None if nothing was added."""
        if self._inputs is None:
            return None
        return Moments(_symmetric(self._inputs) / samples, self.mean_gradients())

    def mean_gradients(self) -> Array | None:
        """Return F, the mean over samples and positions; None if nothing was added."""
        if self._gradients is None:
            return None
        return _symmetric(self._gradients) / max(self._rows, 1)


def _chosen(count: int, limit: int | None, rng: np.random.Generator) -> np.ndarray:
    if limit is None or count <= limit:
        return np.arange(count)
    return np.sort(rng.choice(count, limit, replace=False))


def _added(total: Array | None, rows: np.ndarray, share: float) -> Array:
    """Return the sum plus `share` times rows^T rows, in the upper triangle of a Fortran array."""
    size = rows.shape[1]
    total = np.zeros((size, size), order="F") if total is None else total
    columns = np.ascontiguousarray(rows, dtype=np.float64).T
    return blas.dsyrk(share, columns, beta=1.0, c=total, overwrite_c=1)


def _symmetric(upper: Array) -> Array:
    return np.ascontiguousarray(np.triu(upper) + np.triu(upper, 1).T)
