from __future__ import annotations

import numpy as np
from sklearn.datasets import load_digits

from ms_eff.data import DataSettings, build
from tests.tolerances import LAYER


def everything(split):
    return split.batch(np.arange(len(split)))


def test_split_is_stratified_and_covers_the_set():
    data = build(DataSettings())
    assert (len(data.train), len(data.test)) == (1437, 360)
    assert (data.name, data.num_classes, data.image_shape) == ("digits", 10, (1, 8, 8))
    share = np.bincount(data.test.labels) / np.bincount(load_digits().target)
    assert np.abs(share - 0.2).max() < 0.01
    ink = np.concatenate([everything(split)[0] for split in (data.train, data.test)])
    ink = np.rint((ink * data.std[0] + data.mean[0]) * 16).astype(int).reshape(-1, 64)
    assert sorted(map(tuple, ink)) == sorted(map(tuple, load_digits().data.astype(int)))


def test_training_pixels_are_standardised():
    images, _ = everything(build(DataSettings()).train)
    assert abs(images.mean()) < LAYER
    assert abs(images.std() - 1) < LAYER


def test_statistics_can_be_given():
    data = build(DataSettings(normalize={"mean": [0.0], "std": [1.0]}))
    images, _ = everything(data.test)
    assert (images.min(), images.max()) == (0.0, 1.0)
    assert (data.mean, data.std) == ((0.0,), (1.0,))


def test_enlarged_by_nearest_repeats_pixels():
    small, _ = everything(build(DataSettings()).test)
    data = build(DataSettings(image_size=32, interpolation="nearest"))
    large, _ = everything(data.test)
    assert data.image_shape == (1, 32, 32)
    np.testing.assert_array_equal(large, np.kron(small, np.ones((1, 1, 4, 4), np.float32)))


def test_held_out_digits_are_the_rest_of_the_training_part():
    whole = build(DataSettings())
    data = build(DataSettings(train_limit=1000, test_split="held_out"))
    parts = [everything(split)[0].reshape(-1, 64) for split in (data.train, data.test)]
    assert [len(part) for part in parts] == [1000, 437]
    assert sorted(map(tuple, np.concatenate(parts))) == sorted(
        map(tuple, everything(whole.train)[0].reshape(-1, 64))
    )
    counts = np.bincount(data.test.labels)
    rest = np.bincount(whole.train.labels) - 100
    np.testing.assert_array_equal(counts, rest)


def test_limits_are_balanced():
    data = build(DataSettings(train_limit=100, test_limit=20))
    assert np.bincount(data.train.labels).tolist() == [10] * 10
    assert np.bincount(data.test.labels).tolist() == [2] * 10
