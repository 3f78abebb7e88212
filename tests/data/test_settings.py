from __future__ import annotations

import pytest
from pydantic import ValidationError

from ms_eff.data.keys import check_name
from ms_eff.data.settings import DataSettings
from ms_eff.errors import ConfigError


@pytest.mark.parametrize(
    ("name", "size", "augment"),
    [
        ("digits", 8, "none"),
        ("cifar10", 32, "crop_flip"),
        ("image_folder", 224, "imagenet"),
        ("synthetic", 32, "none"),
    ],
)
def test_each_set_has_sensible_defaults(name, size, augment):
    root = {"root": "somewhere"} if name in ("cifar10", "image_folder") else {}
    settings = DataSettings(name=name, **root)
    assert (settings.image_size, settings.augment) == (size, augment)


def test_null_means_the_default():
    given = DataSettings(name="cifar10", root="x", augment=None, image_size=None)
    assert given == DataSettings(name="cifar10", root="x")


def test_a_named_test_split_is_the_same_as_none():
    assert DataSettings(test_split="test") == DataSettings()


def test_settings_survive_json():
    settings = DataSettings(
        name="image_folder", root="x", normalize={"mean": (0.1, 0.2, 0.3), "std": (1, 1, 1)}
    )
    assert DataSettings.model_validate_json(settings.model_dump_json()) == settings


def test_unknown_name_offers_the_nearest():
    with pytest.raises(ConfigError, match=r"data\.name: unknown .*'cifar'.* mean 'cifar10'"):
        check_name("cifar")
    with pytest.raises(ValidationError, match="did you mean 'digits'"):
        DataSettings(name="digts")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"name": "cifar10"}, r"data\.root: cifar10 needs it"),
        ({"name": "video_folder"}, r"holds train/ and val/, each with videos by class"),
        ({"name": "ucf101"}, r"holds UCF-101/ and ucfTrainTestlist/"),
        ({"name": "digits", "root": "x"}, r"data\.root: digits takes no 'root' \(for cifar10"),
        ({"name": "digits", "train_size": 5}, r"data\.train_size: digits .*for synthetic"),
        ({"name": "digits", "image_size": 20}, r"data\.image_size: 20 .* multiple of 8"),
        ({"name": "cifar10", "root": "x", "image_size": 48}, r"multiple of 32"),
        ({"name": "digits", "augment": "imagenet"}, r"data\.augment: 'imagenet'"),
        ({"name": "digits", "augment": "flop"}, "augment"),
        *(
            (
                {"name": name, "root": "x", "augment": "crop_alternate"},
                rf"data\.augment: {name} takes no 'crop_alternate'; use crop_flip",
            )
            for name in ("image_folder", "video_folder", "ucf101")
        ),
        ({"test_split": "held_out"}, r"data\.test_split: 'held_out' .*; set data\.train_limit"),
        (
            {"name": "image_folder", "root": "x", "test_split": "held_out"},
            r"data\.test_split: image_folder takes no 'test_split' \(for digits, cifar10\)",
        ),
        ({"test_split": "rest"}, "test_split"),
        ({"name": "digits", "batch_size": 0}, "batch_size"),
        ({"name": "digits", "bath_size": 8}, "bath_size"),
        ({"name": 7}, "name"),
        ({"normalize": {"mean": [0.1], "std": [0.0]}}, r"data\.normalize\.std: \[0\.0\]"),
        ({"normalize": {"mean": [0.1, 0.2], "std": [1.0]}}, r"normalize\.mean: 2 .* 1 channels"),
    ],
)
def test_errors_name_key_and_value(given, message):
    with pytest.raises(ValidationError, match=message):
        DataSettings(**given)


def test_workers_share_a_step_evenly_or_not_at_all():
    settings = DataSettings(global_batch_size=96, batch_size=7)
    assert [settings.for_workers(n).batch_size for n in (1, 2, 8)] == [96, 48, 12]
    assert DataSettings(batch_size=7).for_workers(4).batch_size == 7
    with pytest.raises(ConfigError, match=r"data\.global_batch_size = 96: 5 workers cannot share"):
        settings.for_workers(5)
