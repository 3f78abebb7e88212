"""Perplexity against NumPy's."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from mindspore import Tensor, nn

from ms_eff.errors import DataError
from ms_eff.train.perplexity import perplexity
from tests.tolerances import LAYER


class Bigrams(nn.Cell):
    """Logits that depend on the last token alone."""

    def __init__(self, table: np.ndarray) -> None:
        super().__init__()
        self.table = nn.Embedding(*table.shape, embedding_table=Tensor(table))

    def construct(self, ids: Tensor) -> Tensor:
        return self.table(ids)


def test_it_is_the_exponential_of_the_mean_loss_within_windows() -> None:
    rng = np.random.default_rng(0)
    table = rng.standard_normal((7, 7)).astype(np.float32)
    ids = rng.integers(0, 7, 50).astype(np.int32)
    found = perplexity(Bigrams(table), ids, window=6, tokens=33, batch=2)
    losses = []
    for window in ids[:30].reshape(5, 6):  # three batches, the last one half full
        for now, then in itertools.pairwise(window):
            row = table[now].astype(np.float64)
            losses.append(np.log(np.exp(row).sum()) - row[then])
    assert found.tokens == len(losses) == 25
    assert found.loss == pytest.approx(np.mean(losses), rel=LAYER)
    assert found.value == pytest.approx(np.exp(np.mean(losses)), rel=LAYER)


def test_a_short_text_is_refused() -> None:
    with pytest.raises(DataError, match="make no window of 100"):
        perplexity(nn.Cell(), np.zeros(50, np.int32), window=100)
