"""The references are images of which every pixel is known."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.utils import Bunch

from ms_eff.bench.photographs import crops, photographs
from ms_eff.data.settings import DataSettings


def test_crops_are_pieces_of_the_images_in_turns() -> None:
    dark, bright = np.full((40, 60, 3), 10, np.uint8), np.full((50, 30, 3), 200, np.uint8)
    found = crops([dark, bright], 6, 16, np.random.default_rng(0))
    assert found.shape == (6, 3, 16, 16)
    assert [int(crop.mean()) for crop in found] == [10, 200] * 3


def test_every_other_crop_is_mirrored() -> None:
    slope = np.broadcast_to(np.arange(0, 200, 4, dtype=np.uint8)[None, :, None], (50, 50, 3))
    rising = [crop[0, 0, -1] > crop[0, 0, 0] for crop in crops([slope], 4, 8, drawn())]
    assert rising == [True, False, True, False]


def drawn() -> np.random.Generator:
    return np.random.default_rng(1)


def test_it_is_a_data_set_that_a_seed_repeats() -> None:
    settings = DataSettings(name="cifar10", root=".", image_size=32, train_limit=6, test_limit=4)
    built = photographs(settings)
    assert (len(built.train), len(built.test), built.image_shape) == (6, 4, (3, 32, 32))
    images, _ = built.train.batch(np.arange(6), None)
    again, _ = photographs(settings).train.batch(np.arange(6), None)
    np.testing.assert_array_equal(images, again)
    assert -1.0 <= images.min() < images.max() <= 1.0


def test_halves_are_the_left_and_the_right_one(monkeypatch: pytest.MonkeyPatch) -> None:
    image = np.zeros((40, 60, 3), np.uint8)
    image[:, 30:] = 255
    monkeypatch.setattr("sklearn.datasets.load_sample_images", lambda: Bunch(images=[image]))
    built = photographs(
        DataSettings(name="cifar10", root=".", image_size=32, train_limit=5, test_limit=5)
    )
    assert np.unique(built.train.batch(np.arange(5), None)[0]).tolist() == [-1.0]
    assert np.unique(built.test.batch(np.arange(5), None)[0]).tolist() == [1.0]
