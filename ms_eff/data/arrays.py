"""Splits that fit in memory: a whole batch is cropped, mirrored and normalised at once."""

from __future__ import annotations

from functools import lru_cache
from typing import Literal

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from ms_eff.data.base import Batch, Split, affine
from ms_eff.data.randomness import RngKey, Stream, generator

__all__ = ["ArraySplit", "crop_draws", "crop_margin", "cut_out", "cutout_draws", "enlarge"]

Interpolation = Literal["nearest", "bilinear"]


class ArraySplit(Split):
    """Images of one size, held as they are stored and turned to float32 batch by batch.

    With a crop the pictures are kept with their reflected border (at 32 x 32 that is 1.56
    times the memory), which makes a random crop a plain copy.

    Args:
        images: (N, C, H, W), any real type.
        labels: (N,) classes.
        classes: name of each class.
        mean: per channel, in pixel units of 0 to 1.
        std: likewise.
        peak: the stored value that stands for 1.
        augment: `none`, `flip`, `crop_flip` (shift by up to an eighth of the side, then mirror), or
            `crop_alternate` (mirror every other epoch, each picture from one of the first two on).
        factor: enlarge each picture this many times, after augmentation.
        interpolation: how to enlarge.
        cutout: side in pixels of a square, anywhere in the picture or over its edge, that an
            augmented picture shows the mean of the data set in (arXiv:1708.04552); 0: none.
        workers: threads that share a batch; one is enough for any size that fits in memory.
    """

    def __init__(
        self,
        images: NDArray[np.generic],
        labels: NDArray[np.int32],
        classes: tuple[str, ...],
        *,
        mean: tuple[float, ...],
        std: tuple[float, ...],
        peak: float = 255.0,
        augment: str = "none",
        factor: int = 1,
        interpolation: Interpolation = "bilinear",
        cutout: int = 0,
        workers: int = 1,
    ) -> None:
        _, channels, height, width = images.shape
        shape = (channels, height * factor, width * factor)
        super().__init__(np.asarray(labels, np.int32), classes, shape, workers)
        self._side = (height, width)
        self._augment = augment
        self._factor = factor
        self._interpolation: Interpolation = interpolation
        self._cutout = cutout
        self._scale, self._shift = affine(mean, std, peak)
        margin = crop_margin(min(height, width)) if augment.startswith("crop") else 0
        self._margin = margin
        border = ((0, 0), (0, 0), (margin, margin), (margin, margin))
        self._images = np.pad(images, border, mode="reflect") if margin else images

    def batch(self, indices: NDArray[np.int64], key: RngKey | None = None) -> Batch:
        """Return (B, C, H, W) float32 images and (B,) int32 labels; see `Split.batch`."""
        pixels = self._pixels(indices, key if self._augment != "none" else None)
        images = np.multiply(pixels, self._scale, dtype=np.float32)
        images += self._shift
        if self._factor > 1:
            images = enlarge(images, self._factor, self._interpolation)
        if self._cutout and key is not None:
            centres = cutout_draws(len(self), images.shape[2:], key)[indices]
            cut_out(images, centres, self._cutout)
        return images, self.labels[indices]

    def _pixels(self, indices: NDArray[np.int64], key: RngKey | None) -> NDArray[np.generic]:
        height, width = self._side
        if key is None:
            at = self._margin
            return self._images[indices, :, at : at + height, at : at + width]
        shifts, flips = crop_draws(len(self), 2 * self._margin + 1, key)
        if self._augment == "crop_alternate":
            seed, epoch = key
            _, first = crop_draws(len(self), 2 * self._margin + 1, (seed, 0))
            flips = first ^ (epoch % 2 == 1)
        flip = flips[indices]
        if self._margin:
            windows = sliding_window_view(self._images, self._side, (2, 3))  # type: ignore[call-overload]
            down, right = shifts[indices].T
            pixels = windows[indices, :, down, right]
        else:
            pixels = self._images[indices]
        pixels[flip] = pixels[flip][..., ::-1]
        return pixels


@lru_cache(maxsize=4)
def crop_draws(
    samples: int, places: int, key: RngKey
) -> tuple[NDArray[np.uint16], NDArray[np.bool_]]:
    """Return the crop offsets (N, 2), down and right, and the mirror flags (N,) of one epoch.

    They are drawn for the whole epoch at once and looked up by sample: cheap, and independent of
    the order in which batches are asked for.
    """
    rng = generator(Stream.AUGMENT, *key)
    flips = rng.random(samples, dtype=np.float32) < 0.5
    shifts = rng.integers(0, places, size=(samples, 2), dtype=np.uint16)
    for shared in (flips, shifts):
        shared.setflags(write=False)
    return shifts, flips


@lru_cache(maxsize=4)
def cutout_draws(samples: int, sides: tuple[int, int], key: RngKey) -> NDArray[np.int64]:
    """Return the middle pixels (N, 2), row and column, of the squares of one epoch."""
    centres = generator(Stream.CUTOUT, *key).integers(0, sides, size=(samples, 2))
    centres.setflags(write=False)
    return centres


def cut_out(images: NDArray[np.float32], centres: NDArray[np.int64], side: int) -> None:
    """Set a square of each image (B, C, H, W) to 0, which is the mean of normalised ones.

    Args:
        images: changed in place.
        centres: (B, 2), row and column; what reaches over the edge is lost.
        side: of the square, in pixels.

    >>> image = np.ones((1, 1, 4, 4), np.float32)
    >>> cut_out(image, np.array([[0, 2]]), 2)
    >>> image[0, 0].tolist()[0]
    [1.0, 0.0, 0.0, 1.0]
    """
    rows, columns = (
        _inside(images.shape[axis], centres[:, axis - 2], side) for axis in (2, 3)
    )  # (B, H), (B, W)
    images *= ~(rows[:, None, :, None] & columns[:, None, None, :])


def _inside(length: int, centres: NDArray[np.int64], side: int) -> NDArray[np.bool_]:
    offsets = np.arange(length) - (centres[:, None] - side // 2)
    return (offsets >= 0) & (offsets < side)


def crop_margin(side: int) -> int:
    """Return the reflected border of `crop_flip`: 4 pixels at 32, in proportion elsewhere.

    >>> [crop_margin(side) for side in (8, 32, 224)]
    [1, 4, 28]
    """
    return side // 8


def enlarge(
    images: NDArray[np.float32], factor: int, interpolation: Interpolation
) -> NDArray[np.float32]:
    """Return (B, C, H, W) images `factor` times as large, pixel centres aligned.

    >>> enlarge(np.float32([[[[0, 4]]]]), 2, "bilinear")[0, 0, 0].tolist()
    [0.0, 1.0, 3.0, 4.0]
    """
    if interpolation == "nearest":
        return images.repeat(factor, axis=2).repeat(factor, axis=3)
    tall = _bilinear_weights(images.shape[2], factor)
    wide = _bilinear_weights(images.shape[3], factor)
    return np.matmul(np.matmul(tall, images), wide.T)


@lru_cache(maxsize=8)
def _bilinear_weights(side: int, factor: int) -> NDArray[np.float32]:
    """Return (side * factor, side): each row holds the weights of the two nearest pixels."""
    centre = (np.arange(side * factor) + 0.5) / factor - 0.5
    low = np.floor(centre).astype(np.int64)
    weights = np.zeros((side * factor, side), np.float32)
    row = np.arange(side * factor)
    np.add.at(weights, (row, np.clip(low, 0, side - 1)), 1.0 - (centre - low))
    np.add.at(weights, (row, np.clip(low + 1, 0, side - 1)), centre - low)
    return weights
