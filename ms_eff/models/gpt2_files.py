"""A GPT-2 written as Hugging Face does: config.json, model.safetensors, tokenizer.

Reading one is `ms_eff.models.parents.load_parent`'s.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from ms_eff.errors import CheckpointError
from ms_eff.files import replacing
from ms_eff.models.parents import save_tokenizer
from ms_eff.models.weights import save_weights

if TYPE_CHECKING:
    from tokenizers import Tokenizer

    from ms_eff.models.gpt2 import GPT2

__all__ = ["save_gpt2"]

_CONFIG, _WEIGHTS = "config.json", "model.safetensors"


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
