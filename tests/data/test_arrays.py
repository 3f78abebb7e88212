from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from ms_eff.data.arrays import ArraySplit, crop_draws, crop_margin, cutout_draws, enlarge
from tests.tolerances import LAYER

MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.25, 0.3)
KEY = (3, 1)


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (12, 3, 32, 32), dtype=np.uint8)


def split_of(images: np.ndarray, augment: str, **args) -> ArraySplit:
    labels = np.arange(len(images), dtype=np.int32) % 4
    return ArraySplit(images, labels, tuple("abcd"), mean=MEAN, std=STD, augment=augment, **args)


def normalised(pixels: np.ndarray) -> np.ndarray:
    """Return one (C, H, W) picture of bytes by the definition, channel by channel, in float64."""
    return np.stack([(p / 255.0 - m) / s for p, m, s in zip(pixels, MEAN, STD, strict=True)])


@pytest.mark.parametrize("augment", ["none", "flip", "crop_flip"])
def test_without_a_key_the_stored_picture_is_normalised(images, augment):
    chosen = np.array([7, 0, 7])
    got, labels = split_of(images, augment).batch(chosen)
    np.testing.assert_allclose(got, [normalised(images[i]) for i in chosen], atol=LAYER)
    assert got.dtype == np.float32
    assert labels.dtype == np.int32
    assert labels.tolist() == [3, 0, 3]


@pytest.mark.parametrize("augment", ["flip", "crop_flip"])
def test_augmentation_equals_a_slow_reference(images, augment):
    margin = 4 if augment == "crop_flip" else 0
    shifts, flips = crop_draws(len(images), 2 * margin + 1, KEY)
    assert set(flips.tolist()) == {True, False}
    got, _ = split_of(images, augment).batch(np.arange(12), KEY)
    for picture, source, (down, right), flip in zip(got, images, shifts, flips, strict=True):
        expected = np.empty_like(source)
        for row in range(32):
            for column in range(32):
                # mirrored without repeating the edge: -1 -> 1, 32 -> 30
                y, x = abs(row + down - margin), abs(column + right - margin)
                y, x = y if y < 32 else 62 - y, x if x < 32 else 62 - x
                expected[:, row, 31 - column if flip else column] = source[:, y, x]
        np.testing.assert_allclose(picture, normalised(expected), atol=LAYER)


def test_what_a_sample_looks_like_does_not_depend_on_its_batch(images):
    split = split_of(images, "crop_flip")
    together, _ = split.batch(np.arange(12), KEY)
    for sample in (11, 0, 5):
        alone, _ = split.batch(np.array([sample]), KEY)
        np.testing.assert_array_equal(alone[0], together[sample])
    another, _ = split.batch(np.arange(12), (KEY[0], KEY[1] + 1))
    assert not np.array_equal(another, together)


def test_crops_and_mirrors_are_uniform():
    shifts, flips = crop_draws(90_000, 9, (0, 0))
    for column in shifts.T:
        counts = np.bincount(column, minlength=9)
        assert len(counts) == 9
        # five standard deviations of a binomial count
        assert np.abs(counts - 10_000).max() < 5 * np.sqrt(90_000 * (1 / 9) * (8 / 9))
    assert abs(flips.mean() - 0.5) < 5 * 0.5 / np.sqrt(90_000)


def test_margin_is_an_eighth_of_the_side():
    assert [crop_margin(side) for side in (4, 8, 32, 64)] == [0, 1, 4, 8]


@pytest.mark.parametrize("factor", [2, 3, 4])
@pytest.mark.parametrize("method", ["nearest", "bilinear"])
def test_enlarging_equals_pil(factor, method):
    source = np.random.default_rng(1).random((2, 2, 8, 6), np.float32)
    got = enlarge(source, factor, method)
    size = (6 * factor, 8 * factor)
    results = got.reshape(-1, *reversed(size))
    for image, result in zip(source.reshape(-1, 8, 6), results, strict=True):
        expected = Image.fromarray(image).resize(size, Image.Resampling[method.upper()])
        np.testing.assert_allclose(result, np.asarray(expected), atol=LAYER)


def test_enlarged_split_announces_its_shape(images):
    split = split_of(images, "crop_flip", factor=2, interpolation="nearest")
    got, _ = split.batch(np.arange(2), KEY)
    plain, _ = split_of(images, "crop_flip").batch(np.arange(2), KEY)
    assert split.image_shape == got.shape[1:] == (3, 64, 64)
    np.testing.assert_array_equal(got[:, :, ::2, 1::2], plain)


def test_alternate_mirrors_each_picture_every_other_epoch(images):
    split = split_of(images, "crop_alternate")
    everything = np.arange(len(images))
    for epoch in (0, 1, 2, 3):
        shifts, _ = crop_draws(len(images), 2 * crop_margin(32) + 1, (7, epoch))
        _, flips = crop_draws(len(images), 2 * crop_margin(32) + 1, (7, 0))
        got = split.batch(everything, (7, epoch))[0]
        border = ((0, 0), (4, 4), (4, 4))
        for index, image in enumerate(images):
            down, right = shifts[index]
            crop = np.pad(image, border, mode="reflect")[:, down : down + 32, right : right + 32]
            if flips[index] ^ (epoch % 2 == 1):
                crop = crop[..., ::-1]
            np.testing.assert_allclose(got[index], normalised(crop), atol=LAYER)


def test_cutout_sets_a_square_to_the_mean_and_nothing_else(images):
    side = 12
    plain, _ = split_of(images, "crop_flip").batch(np.arange(12), KEY)
    cut = split_of(images, "crop_flip", cutout=side)
    got, _ = cut.batch(np.arange(12), KEY)
    for picture, source, (y, x) in zip(
        got, plain, cutout_draws(12, (32, 32), KEY).tolist(), strict=True
    ):
        expected = source.copy()
        top, left = y - side // 2, x - side // 2
        expected[:, max(top, 0) : max(top + side, 0), max(left, 0) : max(left + side, 0)] = 0.0
        np.testing.assert_array_equal(picture, expected)
    np.testing.assert_array_equal(cut.batch(np.array([5]), KEY)[0][0], got[5])
    whole, _ = cut.batch(np.arange(12))
    np.testing.assert_array_equal(whole, split_of(images, "crop_flip").batch(np.arange(12))[0])
    assert not np.array_equal(cutout_draws(12, (32, 32), KEY), cutout_draws(12, (32, 32), (3, 2)))
