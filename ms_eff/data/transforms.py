"""The two standard ways from a photograph to a square network input (PIL)."""

from __future__ import annotations

import math

import numpy as np
from PIL import Image

__all__ = ["centre_crop", "crop_at_random", "random_resized_box", "resize_for_crop"]

Box = tuple[int, int, int, int]

# He et al. (arXiv 1512.03385): shorter side 256 for a crop of 224
CROP_RATIO = 256 / 224
# Szegedy et al. (arXiv 1409.4842): share of the area and aspect ratio of a training crop
AREA = (0.08, 1.0)
ASPECT = (3 / 4, 4 / 3)
TRIES = 10


def resize_for_crop(image: Image.Image, size: int) -> Image.Image:
    """Return the picture with its shorter side at 256/224 of `size`, aspect ratio kept."""
    short = round(size * CROP_RATIO)
    width, height = image.size
    if width <= height:
        target = (short, int(short * height / width))
    else:
        target = (int(short * width / height), short)
    return image.resize(target, Image.Resampling.BILINEAR)


def centre_crop(image: Image.Image, size: int) -> Image.Image:
    """Return the `size` x `size` pixels in the middle."""
    left, top = round((image.width - size) / 2), round((image.height - size) / 2)
    return image.crop((left, top, left + size, top + size))


def crop_at_random(image: Image.Image, size: int, rng: np.random.Generator) -> Image.Image:
    """Return `size` x `size` pixels from anywhere in the picture."""
    left = int(rng.integers(0, image.width - size + 1))
    top = int(rng.integers(0, image.height - size + 1))
    return image.crop((left, top, left + size, top + size))


def random_resized_box(width: int, height: int, rng: np.random.Generator) -> Box:
    """Return (left, top, right, bottom) of a crop of 8 to 100 % of the area, aspect 3/4 to 4/3.

    After ten boxes that do not fit the picture it is the largest central one of allowed aspect.
    """
    areas = rng.uniform(*AREA, TRIES) * width * height
    aspects = np.exp(rng.uniform(math.log(ASPECT[0]), math.log(ASPECT[1]), TRIES))
    wide = np.rint(np.sqrt(areas * aspects)).astype(int)
    tall = np.rint(np.sqrt(areas / aspects)).astype(int)
    fits = np.flatnonzero((wide > 0) & (wide <= width) & (tall > 0) & (tall <= height))
    if len(fits):
        box_width, box_height = int(wide[fits[0]]), int(tall[fits[0]])
        left = int(rng.integers(0, width - box_width + 1))
        top = int(rng.integers(0, height - box_height + 1))
    else:
        box_width = min(width, round(height * ASPECT[1]))
        box_height = min(height, round(width / ASPECT[0]))
        left, top = (width - box_width) // 2, (height - box_height) // 2
    return left, top, left + box_width, top + box_height
