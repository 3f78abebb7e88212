from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from ms_eff.data.transforms import (
    centre_crop,
    crop_at_random,
    random_resized_box,
    resize_for_crop,
)


def picture(width: int, height: int) -> Image.Image:
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


@pytest.mark.parametrize(
    ("size", "expected"),
    [((500, 375), (341, 256)), ((375, 500), (256, 341)), ((90, 90), (256,) * 2)],
)
def test_shorter_side_goes_to_256_for_a_crop_of_224(size, expected):
    resized = resize_for_crop(picture(*size), 224)
    assert resized.size == expected
    direct = picture(*size).resize(expected, Image.Resampling.BILINEAR)
    np.testing.assert_array_equal(np.asarray(resized), np.asarray(direct))


def test_centre_crop_takes_the_middle():
    source = picture(10, 7)
    np.testing.assert_array_equal(centre_crop(source, 4), np.asarray(source)[2:6, 3:7])


def test_random_crop_reaches_every_place():
    source = picture(6, 5)
    rng = np.random.default_rng(0)
    windows = {
        np.asarray(source)[y : y + 4, x : x + 4].tobytes(): (y, x)
        for y in range(2)
        for x in range(3)
    }
    seen = {windows[crop_at_random(source, 4, rng).tobytes()] for _ in range(200)}
    assert seen == set(windows.values())


def test_random_resized_boxes_keep_area_and_aspect():
    width, height = 500, 375
    rng = np.random.default_rng(0)
    boxes = np.array([random_resized_box(width, height, rng) for _ in range(3000)])
    left, top, right, bottom = boxes.T
    assert left.min() == top.min() == 0
    assert right.max() == width
    assert bottom.max() == height
    wide, tall = right - left, bottom - top
    share, aspect = wide * tall / (width * height), wide / tall
    # whole pixels move a side by half a pixel at most
    assert 0.08 * 0.98 < share.min() < 0.1
    assert share.max() <= 1
    assert 0.75 * 0.98 < aspect.min() < 0.77
    assert 1.3 < aspect.max() < 4 / 3 * 1.02


@pytest.mark.parametrize(
    ("size", "box"), [((1000, 10), (493, 0, 506, 10)), ((10, 1000), (0, 493, 10, 506))]
)
def test_pictures_too_thin_for_a_box_give_the_central_one(size, box):
    # an area of at least 8 % with aspect up to 4/3 does not fit into these
    assert random_resized_box(*size, np.random.default_rng(0)) == box
