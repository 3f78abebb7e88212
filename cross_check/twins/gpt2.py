"""GPT-2 of HF transformers, with and without a head, and with some of its blocks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn
from transformers import GPT2Config, GPT2ForSequenceClassification, GPT2LMHeadModel

__all__ = ["hf_gpt2", "hf_gpt2_classifier", "truncated_hf_gpt2"]

_HEAD, _TABLE = "lm_head.weight", "transformer.wte.weight"


def hf_gpt2(vocab: int, positions: int, dim: int, depth: int, heads: int) -> nn.Module:
    """Return GPT2LMHeadModel (its output has `.logits`)."""
    return _LanguageModel(_config(vocab, positions, dim, depth, heads))


def truncated_hf_gpt2(
    vocab: int, positions: int, dim: int, depth: int, heads: int, kept: list[int]
) -> nn.Module:
    """Return a GPT2LMHeadModel of `depth` blocks without those that are not in `kept`."""
    model = _LanguageModel(_config(vocab, positions, dim, depth, heads))
    model.transformer.h = nn.ModuleList([model.transformer.h[index] for index in kept])
    return model


def hf_gpt2_classifier(
    vocab: int, positions: int, dim: int, depth: int, heads: int, num_classes: int
) -> nn.Module:
    """Return GPT2ForSequenceClassification, fed with one tensor of ids, mask and types."""
    config = _config(vocab, positions, dim, depth, heads)
    config.num_labels = num_classes
    return _Classifier(config)


def _config(vocab: int, positions: int, dim: int, depth: int, heads: int) -> GPT2Config:
    return GPT2Config(
        vocab_size=vocab,
        n_positions=positions,
        n_embd=dim,
        n_layer=depth,
        n_head=heads,
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
        bos_token_id=0,
        eos_token_id=0,
        use_cache=False,
    )


class _LanguageModel(GPT2LMHeadModel):
    """The head is the table: it stands in no list of weights of its own."""

    def state_dict(self, *args: Any, **options: Any) -> dict[str, torch.Tensor]:
        weights = super().state_dict(*args, **options)
        return {name: value for name, value in weights.items() if name != _HEAD}

    def load_state_dict(self, weights: Mapping[str, torch.Tensor], strict: bool = True) -> Any:
        return super().load_state_dict({**weights, _HEAD: weights[_TABLE]}, strict=strict)

    def forward(self, ids: torch.Tensor) -> Any:
        return super().forward(input_ids=ids.long())


class _Classifier(GPT2ForSequenceClassification):
    """The last token that the mask keeps is pooled, not the last that is no padding id."""

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        ids, mask, _ = tokens.long().unbind(1)
        hidden = self.transformer(input_ids=ids, attention_mask=mask).last_hidden_state
        last = (torch.arange(mask.shape[1], device=mask.device) * mask).argmax(1)
        return self.score(hidden[torch.arange(len(last), device=mask.device), last])
