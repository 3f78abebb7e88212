"""Llama of HF transformers: whole, with pairs of linears, one block of it, and its head."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn
from torch.nn import functional
from transformers import LlamaConfig, LlamaForCausalLM
from transformers.models.llama.modeling_llama import (
    LlamaDecoderLayer,
    LlamaRMSNorm,
    LlamaRotaryEmbedding,
)

from cross_check.twins.lowrank import with_factors

__all__ = ["hf_llama", "hf_llama_block", "hf_llama_head", "lowrank_hf_llama"]

_HEAD, _TABLE = "lm_head.weight", "model.embed_tokens.weight"


def hf_llama(tied: bool = False, **shape: Any) -> nn.Module:
    """Return LlamaForCausalLM (its output has `.logits`)."""
    config = _config(tied=tied, **shape)
    return _Tied(config) if tied else _Llama(config)


def lowrank_hf_llama(ranks: Mapping[str, list[int]], **shape: Any) -> nn.Module:
    """Return LlamaForCausalLM with two linears for each one that `ranks` names."""
    return with_factors(hf_llama(**shape), ranks)


def hf_llama_block(length: int, **shape: Any) -> nn.Module:
    """Return one block at the first `length` positions."""
    return _Block(_config(**shape), length)


def hf_llama_head(labels: list[list[int]], **shape: Any) -> nn.Module:
    """Return last norm, logits and the summed cross entropy."""
    return _Head(_config(**shape), labels)


def _config(
    vocab_size: int,
    dim: int,
    depth: int,
    heads: int,
    kv_heads: int,
    hidden: int,
    context: int,
    head_dim: int | None = None,
    tied: bool = False,
    attention_bias: bool = False,
) -> LlamaConfig:
    return LlamaConfig(
        vocab_size=vocab_size,
        hidden_size=dim,
        num_hidden_layers=depth,
        num_attention_heads=heads,
        num_key_value_heads=kv_heads,
        intermediate_size=hidden,
        head_dim=head_dim or dim // heads,
        rms_norm_eps=1e-5,
        rope_theta=10_000.0,
        max_position_embeddings=context,
        tie_word_embeddings=tied,
        attention_bias=attention_bias,
        attn_implementation="eager",
        use_cache=False,
    )


class _Llama(LlamaForCausalLM):
    def forward(self, ids: torch.Tensor) -> Any:
        return super().forward(input_ids=ids.long())


class _Tied(_Llama):
    """The head is the table: it stands in no list of weights of its own."""

    def state_dict(self, *args: Any, **options: Any) -> dict[str, torch.Tensor]:
        weights = super().state_dict(*args, **options)
        return {name: value for name, value in weights.items() if name != _HEAD}

    def load_state_dict(self, weights: Mapping[str, torch.Tensor], strict: bool = True) -> Any:
        return super().load_state_dict({**weights, _HEAD: weights[_TABLE]}, strict=strict)


class _Block(nn.Module):
    def __init__(self, config: LlamaConfig, length: int) -> None:
        super().__init__()
        self.block = LlamaDecoderLayer(config, 0)
        self.places = LlamaRotaryEmbedding(config)
        mask = torch.full((length, length), -torch.inf).triu(1)
        self.register_buffer("mask", mask[None, None], persistent=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        places = torch.arange(x.shape[1], device=x.device)[None]
        return self.block(x, attention_mask=self.mask, position_embeddings=self.places(x, places))


class _Head(nn.Module):
    def __init__(self, config: LlamaConfig, labels: list[list[int]]) -> None:
        super().__init__()
        self.head = nn.Module()
        self.head.norm = LlamaRMSNorm(config.hidden_size, config.rms_norm_eps)
        self.head.register_buffer("table", torch.zeros(config.vocab_size, config.hidden_size))
        self.register_buffer("labels", torch.tensor(labels), persistent=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        logits = self.head.norm(x) @ self.head.table.T
        return functional.cross_entropy(
            logits.flatten(0, 1), self.labels.flatten(), reduction="sum"
        )
