"""Which keys of the `data` block belong to which data set, and what they are by default.

Imports no MindSpore.
"""

from __future__ import annotations

from typing import Any

from ms_eff.errors import ConfigError, nearest
from ms_eff.sources import MINILM

__all__ = ["DATA_SETS", "check_name", "with_defaults"]

# per data set: the keys that only some sets take, with their defaults; None must be given, an
# ellipsis may be left out
_OWN_KEYS: dict[str, dict[str, Any]] = {
    "digits": {"interpolation": "bilinear", "cutout": ..., "test_split": ...},
    "cifar10": {"root": None, "interpolation": "bilinear", "cutout": ..., "test_split": ...},
    "image_folder": {"root": None, "corrupt": "error"},
    "motion_cifar10": {"root": None, "frames": 16, "task": "direction"},
    "motion_digits": {"frames": 16, "task": "direction"},
    "video_folder": {"root": None, "frames": 16, "corrupt": "error"},
    "ucf101": {"root": None, "frames": 16, "corrupt": "error", "fold": 1},
    "synthetic": {
        "train_size": 2048,
        "test_size": 512,
        "num_classes": 10,
        "channels": 3,
        "seed": 0,
    },
    "text": {
        "root": None,
        "tokenizer": None,
        "train_file": "train.tsv",
        "test_file": "test.tsv",
        "text_column": 0,
        "pair_column": ...,
        "label_column": 1,
        "buckets": (16, 32, 48, 64, 96, 128),
    },
    "language": {
        "root": None,
        "tokenizer": None,
        "train_files": None,
        "test_files": ...,
        "test_share": 0.05,
        "block": 1024,
    },
}
# keys of pictures that text has no use for
_OF_IMAGES = ("image_size", "augment", "normalize")
_OF_TEXT = ("text", "language")
# per data set: defaults of keys that all sets take
_DEFAULTS: dict[str, dict[str, Any]] = {
    "digits": {"image_size": 8, "augment": "none"},
    "cifar10": {"image_size": 32, "augment": "crop_flip"},
    "image_folder": {"image_size": 224, "augment": "imagenet"},
    "motion_cifar10": {"image_size": 32, "augment": "none"},
    "motion_digits": {"image_size": 32, "augment": "none"},
    "video_folder": {"image_size": 112, "augment": "crop_flip"},
    "ucf101": {"image_size": 112, "augment": "crop_flip"},
    "synthetic": {"image_size": 32, "augment": "none"},
    "text": {},
    "language": {},
}

DATA_SETS = tuple(_DEFAULTS)


def with_defaults(given: dict[str, Any]) -> dict[str, Any]:
    """Return the block of a config with what its data set takes for the keys left out.

    Raises:
        ConfigError: an unknown data set, a key that it does not take, or one that it needs.

    >>> with_defaults({"name": "digits", "batch_size": 8})["image_size"]
    8
    """
    name = given.get("name", "digits")
    check_name(name)
    said = {key: value for key, value in given.items() if value is not None}
    _check_own_keys(name, said)
    own = {key: default for key, default in _OWN_KEYS[name].items() if default is not ...}
    return {**own, **_DEFAULTS[name], **said}


def check_name(name: str) -> None:
    """Raise ConfigError, with the nearest known name, unless there is such a data set."""
    if name not in DATA_SETS:
        raise ConfigError(
            f"data.name: unknown data set '{name}'{nearest(name, DATA_SETS)}; "
            f"known: {', '.join(DATA_SETS)}"
        )


# what to give for a key that must be given, by data set; elsewhere it is the folder of images
_GIVE = {
    ("root", "video_folder"): "the folder that holds train/ and val/, each with videos by class",
    ("root", "ucf101"): "the folder that holds UCF-101/ and ucfTrainTestlist/",
    ("root", "text"): "the folder that holds the tables",
    ("root", "language"): "the folder that holds the text files",
    ("tokenizer", "text"): f"a tokenizer.json; {MINILM}",
    ("tokenizer", "language"): "a tokenizer.json, as `ms-eff tokenizer OUT FILES...` makes one",
    ("train_files", "language"): "the names of the text files below data.root",
}
_IMAGES = "the folder that holds the images"


def _check_own_keys(name: str, said: dict[str, Any]) -> None:
    own = _OWN_KEYS[name]
    for key in _OF_IMAGES if name in _OF_TEXT else ():
        if key in said and said[key] != "none":
            raise ConfigError(f"data.{key}: {name} takes no '{key}'; leave it out")
    for key in said:
        takers = [other for other in DATA_SETS if key in _OWN_KEYS[other]]
        if takers and key not in own:
            raise ConfigError(
                f"data.{key}: {name} takes no '{key}' (for {', '.join(takers)}); leave it out"
            )
    for key, default in own.items():
        if default is None and key not in said:
            raise ConfigError(
                f"data.{key}: {name} needs it; give {_GIVE.get((key, name), _IMAGES)}"
            )
