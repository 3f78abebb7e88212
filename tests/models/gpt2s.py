"""Small GPT-2s on disk, made by another library."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.models.llamas import saved_lively

TINY = {"vocab_size": 64, "n_embd": 24, "n_layer": 2, "n_head": 3, "n_positions": 32}


def save_hf_gpt2(folder: Path, shards: str = "1GB", **changes: Any) -> Any:
    """Save a random `transformers` GPT-2 and return it."""
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    dropped = dict.fromkeys(("resid_pdrop", "embd_pdrop", "attn_pdrop"), 0.0)
    ends = {"bos_token_id": 0, "eos_token_id": None}
    config = transformers.GPT2Config(
        **{**TINY, **dropped, **ends, "initializer_range": 0.3, **changes}
    )
    return saved_lively(transformers.GPT2LMHeadModel(config), folder, shards)
