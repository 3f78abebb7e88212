"""Which networks there are: name -> (builder, settings it takes), imported only when built."""

from __future__ import annotations

import importlib
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from ms_eff.errors import ConfigError, nearest

if TYPE_CHECKING:
    from mindspore import nn

__all__ = ["FROM_FILES", "MODELS", "build", "check_args", "check_name", "names"]

_RESNET = ("num_classes", "in_channels", "width", "stem", "zero_init_residual")
_VIT = (
    *("num_classes", "in_channels", "image_size", "patch_size"),
    *("dim", "depth", "heads", "pool"),
)

_LLAMA = (
    *("vocab_size", "dim", "depth", "heads", "kv_heads", "hidden", "head_dim"),
    *("norm_eps", "rope_base", "context", "tied", "attention_bias"),
)
_RESNET9 = (
    *("num_classes", "in_channels", "width", "form"),
    *("activation", "logit_scale", "train_norm_scale", "dirac"),
)
_CLIPS = ("num_classes", "in_channels", "frames", "image_size")
_BERT = (
    *("num_classes", "vocab", "positions"),
    *("dim", "depth", "heads", "hidden", "pool", "dropout"),
)
_GPT2 = ("vocab", "positions", "dim", "depth", "heads", "hidden", "dropout")

# every builder takes `seed` besides: that of the initial weights
MODELS: dict[str, tuple[str, tuple[str, ...]]] = {
    "bert": ("ms_eff.models.bert:bert", _BERT),
    "bert_base": ("ms_eff.models.bert:bert_base", _BERT),
    "minilm_l6": ("ms_eff.models.bert:minilm_l6", _BERT),
    "eco_lite": ("ms_eff.models.eco_lite:eco_lite", (*_CLIPS, "front_weights")),
    "eco_lite_small": ("ms_eff.models.eco_lite:eco_lite_small", (*_CLIPS, "width")),
    "efficientnet_lite0": (
        "ms_eff.models.efficientnet_lite:efficientnet_lite0",
        ("num_classes", "in_channels"),
    ),
    "gpt2": ("ms_eff.models.gpt2:gpt2", _GPT2),
    "gpt2_small": ("ms_eff.models.gpt2:gpt2_small", _GPT2),
    "gpt2_medium": ("ms_eff.models.gpt2:gpt2_medium", _GPT2),
    "gpt2_large": ("ms_eff.models.gpt2:gpt2_large", _GPT2),
    "gpt2_xl": ("ms_eff.models.gpt2:gpt2_xl", _GPT2),
    "gpt2_classifier": ("ms_eff.models.gpt2_classifier:gpt2_classifier", (*_GPT2, "num_classes")),
    "r3d18": ("ms_eff.models.r3d:r3d18", (*_CLIPS, "width", "stem")),
    "resnet18": ("ms_eff.models.resnet:resnet18", _RESNET),
    "resnet34": ("ms_eff.models.resnet:resnet34", _RESNET),
    "resnet50": ("ms_eff.models.resnet:resnet50", _RESNET),
    "resnet101": ("ms_eff.models.resnet:resnet101", _RESNET),
    "resnet152": ("ms_eff.models.resnet:resnet152", _RESNET),
    "resnet9": ("ms_eff.models.resnet9:resnet9", _RESNET9),
    "vit": ("ms_eff.models.vit:vit", _VIT),
    "vit_tiny_patch16": ("ms_eff.models.vit:vit_tiny_patch16", _VIT),
    "vit_tiny_patch32": ("ms_eff.models.vit:vit_tiny_patch32", _VIT),
    "vit_small_patch16": ("ms_eff.models.vit:vit_small_patch16", _VIT),
    "vit_small_patch32": ("ms_eff.models.vit:vit_small_patch32", _VIT),
    "vit_base_patch16": ("ms_eff.models.vit:vit_base_patch16", _VIT),
    "vit_base_patch32": ("ms_eff.models.vit:vit_base_patch32", _VIT),
}

# built from what their files say of them, so that no config names one as its model
FROM_FILES: dict[str, tuple[str, tuple[str, ...]]] = {
    "llama": ("ms_eff.models.llama:llama", _LLAMA),
}


def names() -> list[str]:
    """Return the names that `build` knows.

    >>> "resnet50" in names()
    True
    """
    return list(MODELS)


def build(name: str, **args: Any) -> nn.Cell:
    """Return a new network with initial weights.

    Args:
        name: one of `names()`, or `llama`.
        **args: the model's own arguments (see its class) and `seed`.

    Raises:
        ConfigError: for an unknown name or argument, with the nearest known one.
    """
    if name not in FROM_FILES:
        check_name(name)
    check_args(name, [key for key in args if key != "seed"])
    module, function = (MODELS | FROM_FILES)[name][0].split(":")
    return getattr(importlib.import_module(module), function)(**args)


def check_name(name: str) -> None:
    """Raise ConfigError, with the nearest name, unless the model exists."""
    if name not in MODELS:
        raise ConfigError(
            f"unknown model '{name}'{nearest(name, MODELS)}; known: {', '.join(MODELS)}"
        )


def check_args(name: str, args: Iterable[str]) -> None:
    """Raise ConfigError, with the nearest name, unless the model takes each of these arguments."""
    takes = (MODELS | FROM_FILES)[name][1]
    for key in args:
        if key not in takes:
            raise ConfigError(
                f"{name} takes no '{key}'{nearest(key, takes)}; it takes: {', '.join(takes)}"
            )
