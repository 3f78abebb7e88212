"""Networks for text."""

from __future__ import annotations

from typing import Any

import numpy as np
from mindspore import Tensor, nn, ops

from cross_check.cells.subject import Subject, draw
from ms_eff.data.pipeline import IGNORED
from ms_eff.methods.progressive.recovery import TokenLoss
from ms_eff.methods.truncation import truncate_layers
from ms_eff.models.bert import BertClassifier
from ms_eff.models.dropout import Dropout, Masks
from ms_eff.models.gpt2 import GPT2
from ms_eff.models.gpt2_classifier import GPT2Classifier
from ms_eff.models.llama import Llama
from ms_eff.models.llama_shape import LlamaShape
from ms_eff.train.perplexity import NextTokenLoss
from ms_eff.train.tasks import ShiftedLoss

__all__ = [
    "bert",
    "decoding_gpt2",
    "decoding_llama",
    "dropout",
    "gpt2",
    "gpt2_classifier",
    "llama",
    "token_losses",
    "truncated_gpt2",
]


def bert(**args: Any) -> Subject:
    """Return a BERT encoder with a head."""
    return Subject(BertClassifier(**args))


def gpt2(**args: Any) -> Subject:
    """Return a GPT-2."""
    return Subject(GPT2(**args))


def truncated_gpt2(keep: int, **args: Any) -> Subject:
    """Return a GPT-2 with some of its blocks; the twin must know which."""
    cell, plan, _ = truncate_layers(GPT2(**args), keep)
    return Subject(cell, {"kept": list(plan.kept)})


def gpt2_classifier(**args: Any) -> Subject:
    """Return a GPT-2 with a head on the last token."""
    return Subject(GPT2Classifier(**args))


def llama(**shape: Any) -> Subject:
    """Return a Llama."""
    cell = Llama(LlamaShape(**shape))
    draw(cell)
    return Subject(cell)


class _Decoding:
    """The logits of all places: the first as a prompt's, each further one by the cache.

    The prompt is run over all ids, as `Decoder` does over padding: what the cache holds from a
    place on must not count there.
    """

    prompt: int
    order: Tensor

    def construct(self, ids: Tensor) -> Tensor:
        logits, cache = self.prefill(ids)
        rows = (logits[:, : self.prompt],)
        for place in range(self.prompt, ids.shape[1]):
            row, cache = self.decode(ids[:, place : place + 1], self.order[place], cache)
            rows = (*rows, row)
        return ops.concat(rows, 1)


class _DecodingLlama(_Decoding, Llama):
    pass


class _DecodingGPT2(_Decoding, GPT2):
    pass


def decoding_llama(prompt: int, **shape: Any) -> Subject:
    """Return a Llama that reads so many tokens at once and the others one by one."""
    return _decoding(_DecodingLlama(LlamaShape(**shape)), prompt)


def decoding_gpt2(prompt: int, **args: Any) -> Subject:
    """Return a GPT-2 that reads so many tokens at once and the others one by one."""
    return _decoding(_DecodingGPT2(**args), prompt)


def _decoding(cell: Any, prompt: int) -> Subject:
    cell.prompt, cell.order = prompt, Tensor(np.arange(cell.context, dtype=np.int32))
    draw(cell)
    return Subject(cell)


def dropout(inputs: int, dim: int, rate: float, seed: int) -> Subject:
    """Return a dense layer with dropout behind it; where its draws begin is a weight."""
    cell = nn.SequentialCell([nn.Dense(inputs, dim), Dropout(Masks(dim, rate, seed))])
    draw(cell)
    return Subject(cell)


class _TokenLosses(nn.Cell):
    """Three losses of the same logits: of each token, and the two means that are trained on."""

    def __init__(self, vocab: int, dim: int, smoothing: float) -> None:
        super().__init__()
        self.network = nn.SequentialCell([nn.Embedding(vocab, dim), nn.Dense(dim, vocab)])
        self.each = NextTokenLoss(self.network)
        self.shifted = ShiftedLoss(smoothing)
        self.recovery = TokenLoss()

    def construct(self, ids: Tensor) -> Tensor:
        # an ignored label, as between two texts of a block
        labels = ops.concat((ids[:, :1], ops.ones_like(ids[:, :1]) * IGNORED, ids[:, 2:]), 1)
        shifted = self.shifted(self.network(ids), labels)
        recovery = self.recovery(self.network(ids[:, :-1]), ids[:, 1:])
        return ops.concat((self.each(ids).reshape(-1), shifted.reshape(1), recovery.reshape(1)))


def token_losses(**args: Any) -> Subject:
    """Return a small model of text under its losses."""
    cell = _TokenLosses(**args)
    draw(cell)
    return Subject(cell)
