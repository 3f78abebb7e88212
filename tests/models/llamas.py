"""Small Llamas on disk, made by other libraries."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

# 3 query heads for each of 2 KV heads, a width that no head count divides
TINY = {
    "vocab_size": 64,
    "hidden_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "intermediate_size": 40,
    "head_dim": 8,
    "max_position_embeddings": 32,
    "rope_theta": 1e4,
    "initializer_range": 0.3,
}


def save_hf(folder: Path, shards: str = "1GB", **changes: Any) -> Any:
    """Save a random `transformers` Llama and return it."""
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    config = transformers.LlamaConfig(**{**TINY, "tie_word_embeddings": True, **changes})
    return saved_lively(transformers.LlamaForCausalLM(config), folder, shards)


def saved_lively(model: Any, folder: Path, shards: str) -> Any:
    """Save a network of `transformers`, its norms and biases moved, and return it."""
    import torch

    with torch.no_grad():  # norms of ones and biases of zeros would hide mistakes
        for parameter in model.eval().parameters():
            if parameter.ndim == 1:
                parameter.add_(torch.randn_like(parameter) * 0.2)
    model.save_pretrained(folder, max_shard_size=shards)
    return model


def logits_of(model: Any, ids: np.ndarray) -> np.ndarray:
    """Return a torch model's logits."""
    import torch

    with torch.no_grad():
        return model(torch.tensor(ids).long()).logits.numpy()


def some_ids(batch: int = 2, length: int = 12, seed: int = 0) -> np.ndarray:
    """Return random token ids."""
    rng = np.random.default_rng(seed)
    return rng.integers(0, TINY["vocab_size"], (batch, length)).astype(np.int32)
