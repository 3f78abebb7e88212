"""Which network fits which data: checked once, before anything is built."""

from __future__ import annotations

from typing import Any

from ms_eff.config import Config
from ms_eff.data.base import DataSet
from ms_eff.data.text import TextSet
from ms_eff.errors import ConfigError
from ms_eff.models.registry import MODELS

__all__ = ["check_inputs", "model_args"]


def check_inputs(config: Config, data: DataSet) -> None:
    """Raise ConfigError unless the network takes what the data set gives."""
    name = config.model.name
    text = isinstance(data, TextSet)
    readers = [n for n, (_, takes) in MODELS.items() if "vocab" in takes]
    if text != (name in readers):
        given, other = ("tokens", "one of") if text else ("pictures", "another than")
        raise ConfigError(
            f"model.name = {name}: data.name = {config.data.name} gives {given}; use {other} "
            f"{', '.join(readers)}"
        )
    clips = len(data.image_shape) == 4
    if clips != ("frames" in MODELS[name][1]):
        takes, has = ("images", "clips") if clips else ("clips", "images")
        raise ConfigError(
            f"model.name = {name}: takes {takes}, but {config.data.name} has {has}; see "
            "`ms-eff list` for networks that take `frames`"
        )
    if isinstance(data, TextSet):
        _check_text(config, data)


def model_args(config: Config, data: DataSet) -> dict[str, Any]:
    """Return the network's arguments: the config's, and for the rest what the data ask for."""
    known: dict[str, Any] = {"num_classes": data.num_classes}
    if isinstance(data, TextSet):
        if config.model.name == "bert":  # the others have a vocabulary of their own
            known["vocab"] = data.vocab
        return config.model.args(**known)
    *clip, channels, height, width = data.image_shape
    known["in_channels"] = channels
    known["image_size"] = height if height == width else (height, width)
    if clip:
        known["frames"] = clip[0]
    return config.model.args(**known)


def _check_text(config: Config, data: TextSet) -> None:
    settings, longest = config.model, data.image_shape[-1]
    if settings.positions is not None and settings.positions < longest:
        raise ConfigError(
            f"model.positions = {settings.positions}: the last bucket of data.buckets is "
            f"{longest}; give as many positions, or shorter buckets"
        )
    if (settings.vocab or data.vocab) < data.vocab:
        raise ConfigError(
            f"model.vocab = {settings.vocab}: the tokenizer knows {data.vocab} tokens; leave it "
            "out, or give as many"
        )
    if config.train.mirror_test:
        raise ConfigError("train.mirror_test: true: a text has no mirror image; use false")
