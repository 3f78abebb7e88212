"""Answers by likelihood, against NumPy's."""

from __future__ import annotations

import numpy as np
import pytest

from ms_eff.data.multiple_choice import Question
from ms_eff.errors import DataError
from ms_eff.train.zero_shot import log_likelihoods, zero_shot
from tests.tolerances import LAYER
from tests.train.test_perplexity import Bigrams

tokenizers = pytest.importorskip("tokenizers")


@pytest.fixture(scope="module")
def tokenizer() -> object:
    words = {f"w{i}": i for i in range(7)}
    made = tokenizers.Tokenizer(tokenizers.models.WordLevel(words, unk_token="w0"))
    made.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    return made


@pytest.mark.gate
def test_likelihoods_are_those_of_the_continuation(tokenizer: object) -> None:
    table = np.random.default_rng(0).standard_normal((7, 7)).astype(np.float32)
    logp = table - np.log(np.exp(table).sum(1, keepdims=True))
    pairs = [("w1 w2", " w3 w4"), ("w5", " w6"), ("w1 w2 w3 w4 w5 w6 w1", " w2 w2")]
    found = log_likelihoods(Bigrams(table), tokenizer, pairs, window=5, batch=2)
    expected = [logp[2, 3] + logp[3, 4], logp[5, 6], logp[1, 2] + logp[2, 2]]
    np.testing.assert_allclose(found, expected, rtol=LAYER)
    score = zero_shot(
        Bigrams(table),
        tokenizer,
        [Question((("w1", " w2"), ("w1", " w3")), int(np.argmax(logp[1, 2:4])))],
        window=5,
        batch=2,
    )
    assert (score.accuracy, score.normalised, score.questions) == (1.0, 1.0, 1)


def test_what_cannot_be_scored_is_refused(tokenizer: object) -> None:
    network = Bigrams(np.zeros((7, 7), np.float32))
    with pytest.raises(DataError, match="has 6 tokens behind 1"):
        log_likelihoods(network, tokenizer, [("w1", " w2" * 6)], window=5)
    with pytest.raises(DataError, match="behind 0 of context"):
        log_likelihoods(network, tokenizer, [("", " w2")], window=5)
    with pytest.raises(DataError, match="no question"):
        zero_shot(network, tokenizer, [])
