"""BERT of HF transformers, fed with one tensor of ids, mask and types as ours is."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from transformers import BertConfig, BertForSequenceClassification

__all__ = ["hf_bert"]


def hf_bert(
    vocab: int,
    positions: int,
    dim: int,
    depth: int,
    heads: int,
    hidden: int,
    num_classes: int,
    pool: str,
) -> nn.Module:
    """Return BertForSequenceClassification, or its encoder with the `mean` under its head."""
    config = BertConfig(
        vocab_size=vocab,
        max_position_embeddings=positions,
        hidden_size=dim,
        num_hidden_layers=depth,
        num_attention_heads=heads,
        intermediate_size=hidden,
        num_labels=num_classes,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        pad_token_id=None,  # else the vector of token 0 gets no gradient
    )
    return _Bert(config) if pool == "token" else _MeanBert(config)


class _Bert(BertForSequenceClassification):
    def forward(self, tokens: torch.Tensor) -> Any:
        ids, mask, types = tokens.long().unbind(1)
        return super().forward(input_ids=ids, attention_mask=mask, token_type_ids=types)


class _MeanBert(BertForSequenceClassification):
    def __init__(self, config: BertConfig) -> None:
        super().__init__(config)
        self.bert.pooler = None

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        ids, mask, types = tokens.long().unbind(1)
        x = self.bert(input_ids=ids, attention_mask=mask, token_type_ids=types).last_hidden_state
        return self.classifier((x * mask[..., None]).sum(1) / mask.sum(1, keepdim=True))
