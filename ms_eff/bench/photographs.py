"""Crops of scikit-learn's two real photographs, for networks whose training images are not here.

A Chinese temple and a flower, 640 x 427 pixels, come with the package. What calibrates a network
is cut from their left halves, what it is tried on from their right halves, so that no pixel is in
both.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ms_eff.data.arrays import ArraySplit
from ms_eff.data.base import DataSet
from ms_eff.data.settings import DataSettings

__all__ = ["crops", "photographs"]

Pixels = NDArray[np.uint8]

_COUNT = 500  # of crops, where the settings name no limit
_SMALLEST = 0.4  # side of a crop, as a share of the largest that fits


def photographs(settings: DataSettings, seed: int = 0) -> DataSet:
    """Return crops as a data set; its only class says that there are no labels.

    Args:
        settings: `image_size`, `train_limit`, `test_limit` (500 crops each if null), `normalize`.
        seed: of where the crops lie, how large they are, and which are mirrored.
    """
    from sklearn.datasets import load_sample_images

    whole = [np.asarray(image) for image in load_sample_images().images]
    middle = [image.shape[1] // 2 for image in whole]
    mean, std = settings.statistics((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))

    def split(halves: list[Pixels], count: int | None, stream: int) -> ArraySplit:
        rng = np.random.default_rng([seed, stream])
        images = crops(halves, count or _COUNT, settings.image_size, rng)
        labels = np.zeros(len(images), np.int32)
        return ArraySplit(images, labels, ("unknown",), mean=mean, std=std)

    left = [image[:, :at] for image, at in zip(whole, middle, strict=True)]
    right = [image[:, at:] for image, at in zip(whole, middle, strict=True)]
    train, test = split(left, settings.train_limit, 0), split(right, settings.test_limit, 1)
    return DataSet("photographs", train, test, mean, std)


def crops(images: list[Pixels], count: int, side: int, rng: np.random.Generator) -> Pixels:
    """Return (count, 3, side, side) square crops, in turns of each image (H, W, 3).

    Their sides are uniform between 0.4 and 1 of the largest square; every other one is mirrored.
    """
    from PIL import Image

    found = []
    for index in range(count):
        image = images[index % len(images)]
        height, width = image.shape[:2]
        size = int(min(height, width) * rng.uniform(_SMALLEST, 1.0))
        top, left = (int(rng.integers(0, n - size + 1)) for n in (height, width))
        cut = Image.fromarray(np.ascontiguousarray(image[top : top + size, left : left + size]))
        pixels = np.asarray(cut.resize((side, side), Image.Resampling.BICUBIC))
        mirrored = pixels[:, ::-1] if index // len(images) % 2 else pixels
        found.append(mirrored.transpose(2, 0, 1))
    return np.stack(found)
