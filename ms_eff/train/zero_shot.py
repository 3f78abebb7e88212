"""Multiple-choice questions answered by likelihood: the choice whose continuation is likeliest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from mindspore import Tensor, nn

from ms_eff.bench.modes import inference
from ms_eff.data.multiple_choice import Question
from ms_eff.errors import DataError
from ms_eff.train.perplexity import NextTokenLoss

if TYPE_CHECKING:
    from tokenizers import Tokenizer

__all__ = ["ZeroShot", "check_questions", "log_likelihoods", "zero_shot"]


@dataclass(frozen=True)
class ZeroShot:
    """Shares of questions answered rightly.

    Attributes:
        accuracy: by log-likelihood.
        normalised: by log-likelihood a byte of the continuation.
        questions: how many.
    """

    accuracy: float
    normalised: float
    questions: int


def zero_shot(
    network: nn.Cell,
    tokenizer: Tokenizer,
    questions: Sequence[Question],
    *,
    window: int = 512,
    batch: int = 4,
) -> ZeroShot:
    """Answer questions by log-likelihood, as the usual harnesses do.

    Args:
        network: token ids (B, N) to logits.
        tokenizer: its tokenizer.
        questions: at least one.
        window: tokens; of longer contexts the end is taken.
        batch: sequences at a time.

    Raises:
        DataError: there is no question, or a continuation fills the window.
    """
    if not questions:
        raise DataError("zero-shot: no question is given")
    pairs = [pair for question in questions for pair in question.choices]
    scores = log_likelihoods(network, tokenizer, pairs, window=window, batch=batch)
    lengths = np.array([max(len(continuation.encode()), 1) for _, continuation in pairs])
    right, right_normalised, start = 0, 0, 0
    for question in questions:
        span = slice(start, start + len(question.choices))
        right += int(np.argmax(scores[span]) == question.answer)
        right_normalised += int(np.argmax(scores[span] / lengths[span]) == question.answer)
        start = span.stop
    count = len(questions)
    return ZeroShot(right / count, right_normalised / count, count)


def check_questions(tokenizer: Tokenizer, questions: Sequence[Question], window: int) -> None:
    """Refuse questions that cannot be scored in such a window, before any network is asked.

    Raises:
        DataError: a continuation has no token, or fills the window.
    """
    for question in questions:
        for pair in question.choices:
            _row(tokenizer, pair, window)


def log_likelihoods(
    network: nn.Cell,
    tokenizer: Tokenizer,
    pairs: Sequence[tuple[str, str]],
    *,
    window: int = 512,
    batch: int = 4,
) -> np.ndarray:
    """Return log p(continuation | context) of each pair, in nats.

    Contexts and continuations are tokenised together, so that a token may reach over the seam; it
    then belongs to the context. Sequences are filled up behind their end, which causal attention
    never sees.

    Raises:
        DataError: a continuation has no token, or fills the window.
    """
    rows = [_row(tokenizer, pair, window) for pair in pairs]
    window = max((len(ids) for ids, _ in rows), default=window)  # of one length: one graph
    scorer, scores = NextTokenLoss(network), np.zeros(len(rows))
    with inference(scorer):
        for start in range(0, len(rows), batch):
            part = rows[start : start + batch]
            filled = np.zeros((batch, window), np.int32)
            for i, (ids, _) in enumerate(part):
                filled[i, : len(ids)] = ids
            losses = scorer(Tensor(filled)).asnumpy().astype(np.float64)
            for i, (ids, first) in enumerate(part):
                # the loss at place p is that of token p + 1
                scores[start + i] = -losses[i, first - 1 : len(ids) - 1].sum()
    return scores


def _row(tokenizer: Tokenizer, pair: tuple[str, str], window: int) -> tuple[list[int], int]:
    """Return the ids of a pair that fit the window, and where the continuation begins."""
    context, continuation = pair
    ids = tokenizer.encode(context + continuation, add_special_tokens=False).ids
    first = len(tokenizer.encode(context, add_special_tokens=False).ids)
    scored = len(ids) - first
    if not 0 < scored < window or not first:
        raise DataError(
            f"zero-shot: continuation {continuation!r} has {scored} tokens behind {first} of "
            f"context; from 1 to {window - 1} can be scored, behind one at least"
        )
    dropped = max(len(ids) - window, 0)
    return ids[dropped:], first - dropped
