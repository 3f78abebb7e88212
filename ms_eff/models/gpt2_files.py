"""A GPT-2 in a folder, as Hugging Face saves one: config.json, model.safetensors, tokenizer."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from ms_eff.errors import CheckpointError
from ms_eff.files import read_json, replacing
from ms_eff.models.gpt2_shape import GPT2Shape
from ms_eff.models.parents import save_tokenizer
from ms_eff.models.weights import load_weights, save_weights

if TYPE_CHECKING:
    from tokenizers import Tokenizer

    from ms_eff.models.gpt2 import GPT2

__all__ = ["is_gpt2", "load_gpt2", "save_gpt2"]

_CONFIG, _WEIGHTS = "config.json", "model.safetensors"


def is_gpt2(path: str | Path) -> bool:
    """Tell whether a folder's config.json says that a GPT-2 lies there."""
    file = Path(path) / _CONFIG
    if not file.is_file():
        return False
    config = read_json(file, CheckpointError)
    return isinstance(config, dict) and config.get("model_type") == "gpt2"


def load_gpt2(path: str | Path) -> GPT2:
    """Return the language model of a folder, in inference mode.

    Raises:
        CheckpointError: a file is missing or damaged, or the weights are of another shape.
        ConfigError: it is no GPT-2, or one with parts that are not built here.
    """
    from ms_eff.models.gpt2 import GPT2

    path = Path(path)
    shape = GPT2Shape.from_hf(read_json(path / _CONFIG, CheckpointError), path / _CONFIG)
    network = GPT2(**shape.to_args())
    load_weights(network, path / _WEIGHTS)
    network.set_train(False)
    return network


def save_gpt2(network: GPT2, path: str | Path, tokenizer: Tokenizer | None = None) -> Path:
    """Write a language model as a folder that transformers loads; also a truncated one.

    Args:
        network: its layers whole, for transformers knows no factors.
        path: the folder; made if it is missing.
        tokenizer: written beside as tokenizer.json.

    Raises:
        CheckpointError: the folder cannot be written, or a parameter has no name there.
    """
    path = Path(path)
    shape = replace(network.shape, depth=len(network.blocks))
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be written: {error.strerror}") from error
    save_weights(network, path / _WEIGHTS, naming="hf")
    with replacing(path / _CONFIG) as temporary:
        temporary.write_text(json.dumps(shape.to_hf(), indent=1), encoding="utf-8")
    if tokenizer is not None:
        save_tokenizer(tokenizer, path)
    return path
