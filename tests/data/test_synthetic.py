from __future__ import annotations

import numpy as np
import pytest

from ms_eff.data import DataSettings, build
from ms_eff.errors import DataError


def load(**args):
    given = {"train_size": 400, "test_size": 100, "image_size": 16, **args}
    return build(DataSettings(name="synthetic", **given))


def everything(split):
    return split.batch(np.arange(len(split)))


def test_same_seed_same_images():
    one, two, other = load(), load(), load(seed=1)
    for split in ("train", "test"):
        images, _ = everything(getattr(one, split))
        np.testing.assert_array_equal(images, everything(getattr(two, split))[0])
        assert not np.array_equal(images, everything(getattr(other, split))[0])
    assert not np.array_equal(everything(one.train)[0][:100], everything(one.test)[0])


def test_sizes_are_as_asked_for():
    data = load(num_classes=7, channels=2, image_size=10, augment="crop_flip")
    images, labels = data.train.batch(np.arange(14), (0, 0))
    assert images.shape == (14, 2, 10, 10) == (14, *data.image_shape)
    assert np.bincount(labels).tolist() == [2] * 7
    assert len(load(train_limit=50).train) == 50
    with pytest.raises(DataError, match=r"data\.test_limit: 101"):
        load(test_limit=101)


def test_images_are_about_standardised():
    images, _ = everything(load(num_classes=50).train)
    assert abs(images.mean()) < 0.1
    assert abs(images.std() - 1) < 0.1


def test_classes_can_be_learnt_from_the_training_split():
    data = load()
    images, labels = everything(data.train)
    centres = np.stack([images[labels == c].mean(axis=0).ravel() for c in range(10)])
    test, expected = everything(data.test)
    distances = ((test.reshape(100, 1, -1) - centres) ** 2).sum(axis=2)
    assert (distances.argmin(axis=1) == expected).mean() > 0.99
