"""Random images that a network can learn, for benchmarks and tests: no file, any size.

Each class is a coarse pattern of 4 x 4 patches; each image is its class's pattern plus noise.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ms_eff.data.arrays import ArraySplit
from ms_eff.data.base import DataSet
from ms_eff.data.order import balanced_subset
from ms_eff.data.randomness import Stream, generator
from ms_eff.data.settings import DataSettings

__all__ = ["images_of", "load", "patterns"]

PATCHES = 4
# pattern and noise are uniform on 0..127 each: their sum has this mean and standard deviation
MEAN = 127.0 / 255.0
STD = (2.0 * (128.0**2 - 1.0) / 12.0) ** 0.5 / 255.0


def load(settings: DataSettings) -> DataSet:
    """Return the random data set of `settings.seed`; test images have noise of their own."""
    shape = (settings.image_channels, settings.image_size, settings.image_size)
    num_classes, seed = settings.num_classes or 10, settings.seed or 0
    mean, std = settings.statistics((MEAN,) * shape[0], (STD,) * shape[0])
    drawn = patterns(num_classes, shape, seed)

    def split(number: int, size: int | None, augment: str, chosen_by: str) -> ArraySplit:
        labels = np.arange(size or 1, dtype=np.int32) % num_classes
        chosen = balanced_subset(labels, getattr(settings, chosen_by), f"data.{chosen_by}")
        return ArraySplit(
            images_of(drawn, labels, seed, number)[chosen],
            labels[chosen],
            tuple(f"class {index}" for index in range(num_classes)),
            mean=mean,
            std=std,
            augment=augment,
            workers=settings.workers or 1,
        )

    train = split(0, settings.train_size, settings.augment, "train_limit")
    test = split(1, settings.test_size, "none", "test_limit")
    return DataSet("synthetic", train, test, mean, std)


def patterns(num_classes: int, shape: tuple[int, int, int], seed: int) -> NDArray[np.uint8]:
    """Return (classes, C, H, W) bytes from 0 to 127, one pattern a class."""
    channels, height, width = shape
    rng = generator(Stream.SYNTHETIC, seed)
    coarse = rng.integers(0, 128, (num_classes, channels, PATCHES, PATCHES), dtype=np.uint8)
    rows, columns = np.arange(height) * PATCHES // height, np.arange(width) * PATCHES // width
    return coarse[:, :, rows][..., columns]


def images_of(
    drawn: NDArray[np.uint8], labels: NDArray[np.int32], seed: int, number: int
) -> NDArray[np.uint8]:
    """Return (N, C, H, W) bytes: each label's pattern plus noise from 0 to 127.

    Args:
        drawn: what `patterns` returned.
        labels: (N,) classes.
        seed: of the data set.
        number: of the split: each has its own noise.
    """
    rng = generator(Stream.SYNTHETIC, seed, sample=1 + number)
    shape = (len(labels), *drawn.shape[1:])
    # a byte's upper seven bits: far quicker than bounded integers at 224 x 224
    noise = np.frombuffer(rng.bytes(int(np.prod(shape))), np.uint8)
    images: NDArray[np.uint8] = np.right_shift(noise, np.uint8(1)).reshape(shape)
    for index, label in enumerate(labels):
        images[index] += drawn[label]
    return images
