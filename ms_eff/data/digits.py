"""Scikit-learn's 1,797 handwritten digits of 8 x 8 pixels: real images that need no file.

Source: the test part of UCI's "Optical Recognition of Handwritten Digits".
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
from numpy.typing import NDArray

from ms_eff.data.arrays import ArraySplit
from ms_eff.data.base import DataSet
from ms_eff.data.order import balanced_subset, held_out
from ms_eff.data.settings import DataSettings

__all__ = ["load", "read", "statistics_of", "test_mask"]

SIDE = 8
PEAK = 16.0  # the set counts ink from 0 to 16


def load(settings: DataSettings) -> DataSet:
    """Return the digits, 1,437 to train and 360 to test."""
    images, labels = read()
    in_test = test_mask(labels)
    mean, std = settings.statistics(*statistics_of(images[~in_test]))

    def split(
        which: NDArray[np.bool_],
        choose: Callable[[NDArray[np.int32]], NDArray[np.int64]],
        augment: str = "none",
        cutout: int | None = None,
    ) -> ArraySplit:
        chosen = np.flatnonzero(which)
        chosen = chosen[choose(labels[chosen])]
        return ArraySplit(
            images[chosen],
            labels[chosen],
            tuple("0123456789"),
            mean=mean,
            std=std,
            peak=PEAK,
            augment=augment,
            factor=settings.image_size // SIDE,
            interpolation=settings.interpolation or "bilinear",
            cutout=cutout or 0,
            workers=settings.workers or 1,
        )

    limits = settings.train_limit, settings.test_limit
    of_train = partial(balanced_subset, limit=limits[0], key="data.train_limit")
    train = split(~in_test, of_train, settings.augment, settings.cutout)
    if settings.test_split == "held_out":
        test = split(~in_test, partial(held_out, train_limit=limits[0], test_limit=limits[1]))
    else:
        of_test = partial(balanced_subset, limit=limits[1], key="data.test_limit")
        test = split(in_test, of_test)
    return DataSet("digits", train, test, mean, std)


def read() -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    """Return (1797, 1, 8, 8) pictures, ink from 0 to 16, and (1797,) digits."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    return bunch.images.astype(np.float32)[:, None], bunch.target.astype(np.int32)


def test_mask(labels: NDArray[np.int32]) -> NDArray[np.bool_]:
    """Return which samples test: every fifth of the samples sorted by class, 360 of 1,797.

    No random numbers are involved, so the split is the same everywhere and for ever.

    >>> test_mask(np.array([0, 1, 0, 1, 0, 1, 0, 1, 0, 1])).astype(int).tolist()
    [1, 1, 0, 0, 0, 0, 0, 0, 0, 0]
    """
    mask = np.zeros(len(labels), bool)
    mask[np.argsort(labels, kind="stable")[::5]] = True
    return mask


def statistics_of(images: NDArray[np.float32]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return mean and standard deviation of such pictures, in units of 0 to 1."""
    pixels = images.astype(np.float64) / PEAK
    return (float(pixels.mean()),), (float(pixels.std()),)
