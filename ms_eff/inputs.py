"""Which network fits which data: checked once, before anything is built."""

from __future__ import annotations

from typing import Any

from ms_eff.config import Config
from ms_eff.data.base import DataSet
from ms_eff.data.packed import LanguageSet
from ms_eff.data.text import TextSet
from ms_eff.errors import ConfigError
from ms_eff.models.registry import MODELS

__all__ = ["check_inputs", "model_args"]

# networks of free sizes, whose vocabulary is that of the text; the others have one of their own
_FREE_VOCAB = ("bert", "gpt2", "gpt2_classifier")
# of a network that is given no other, by the first part of its name: the longest sequence, and the
# number of tokens where it is not the text's
_POSITIONS = {"bert": 512, "minilm": 512, "gpt2": 1024}
_VOCAB = {"bert": 30522, "minilm": 30522, "gpt2": 50257}


def check_inputs(config: Config, data: DataSet) -> None:
    """Raise ConfigError unless the network takes what the data set gives."""
    name = config.model.name
    readers = [n for n, (_, takes) in MODELS.items() if "vocab" in takes]
    if isinstance(data, TextSet | LanguageSet):
        classes = isinstance(data, TextSet)
        fitting = [n for n in readers if ("num_classes" in MODELS[n][1]) == classes]
        if name not in fitting:
            given = "texts with classes" if classes else "plain text"
            raise ConfigError(
                f"model.name = {name}: data.name = {config.data.name} gives {given}; use one of "
                f"{', '.join(fitting)}"
            )
        _check_text(config, data)
        return
    if name in readers:
        raise ConfigError(
            f"model.name = {name}: data.name = {config.data.name} gives pictures; use another than "
            f"{', '.join(readers)}"
        )
    for key, block in (("pretrain", config.pretrain), ("train", config.train)):
        if block and block.mirror_test and config.data.name.startswith("motion"):
            raise ConfigError(
                f"{key}.mirror_test: true: a mirror turns a motion of {config.data.name}, and a "
                "direction is another label's then; use false"
            )
    clips = len(data.image_shape) == 4
    if clips != ("frames" in MODELS[name][1]):
        takes, has = ("images", "clips") if clips else ("clips", "images")
        raise ConfigError(
            f"model.name = {name}: takes {takes}, but {config.data.name} has {has}; see "
            "`ms-eff list` for networks that take `frames`"
        )


def model_args(config: Config, data: DataSet) -> dict[str, Any]:
    """Return the network's arguments: the config's, and for the rest what the data ask for."""
    known: dict[str, Any] = {"num_classes": data.num_classes}
    if isinstance(data, TextSet | LanguageSet):
        if config.model.name in _FREE_VOCAB:
            known["vocab"] = data.vocab
        return config.model.args(**known)
    *clip, channels, height, width = data.image_shape
    known["in_channels"] = channels
    known["image_size"] = height if height == width else (height, width)
    if clip:
        known["frames"] = clip[0]
    return config.model.args(**known)


def _check_text(config: Config, data: TextSet | LanguageSet) -> None:
    settings, longest = config.model, data.image_shape[-1]
    kind = settings.name.partition("_")[0]
    positions = settings.positions or _POSITIONS.get(kind, longest)
    if positions < longest:
        key = "data.block" if isinstance(data, LanguageSet) else "the last bucket of data.buckets"
        raise ConfigError(
            f"model.positions = {positions}: {key} is {longest}; give as many positions, or "
            "shorter samples"
        )
    own = data.vocab if settings.name in _FREE_VOCAB else _VOCAB[kind]
    vocab = settings.vocab or own
    if vocab < data.vocab:
        remedy = "leave it out, or give as many"
        if own < data.vocab:
            remedy = f"take the tokenizer of {settings.name}, or give as many and no weights"
        raise ConfigError(
            f"model.vocab = {vocab}: the tokenizer knows {data.vocab} tokens; {remedy}"
        )
    if config.train.mirror_test:
        raise ConfigError("train.mirror_test: true: a text has no mirror image; use false")
