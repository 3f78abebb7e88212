"""Tasks against NumPy's formulas."""

from __future__ import annotations

from types import SimpleNamespace

import mindspore as ms
import numpy as np
import pytest
from mindspore import Tensor

from ms_eff.data.base import DataSet
from ms_eff.data.packed import BlockSplit, LanguageSet
from ms_eff.errors import ConfigError
from ms_eff.methods.base import Method
from ms_eff.methods.registry import check_task
from ms_eff.methods.swiftlearn import SwiftLearn, SwiftLearnSettings
from ms_eff.section import Section
from ms_eff.train.perplexity import perplexity
from ms_eff.train.tasks import Classification, Language, ShiftedLoss, task_of
from tests.tolerances import LAYER
from tests.train.test_perplexity import Bigrams

RNG = np.random.default_rng(0)
TABLE = RNG.standard_normal((7, 7)).astype(np.float32)
IDS = RNG.integers(0, 7, 61).astype(np.int32)


def next_token_losses(logits: np.ndarray, ids: np.ndarray) -> np.ndarray:
    """Return (B, L - 1) cross entropies in float64."""
    logits = logits[:, :-1].astype(np.float64)
    log_sum = np.log(np.exp(logits).sum(-1))
    chosen = np.take_along_axis(logits, ids[:, 1:, None], -1)[..., 0]
    return log_sum - chosen


@pytest.mark.gate
def test_the_language_loss_is_that_of_the_next_token() -> None:
    ids = IDS[:20].reshape(4, 5)
    logits = RNG.standard_normal((4, 5, 7)).astype(np.float32)
    losses = next_token_losses(logits, ids)
    found = ShiftedLoss()(Tensor(logits), Tensor(ids))
    assert float(found.asnumpy()) == pytest.approx(losses.mean(), rel=LAYER)
    labels = ids.copy()
    labels[2:] = -100  # filling
    found = ShiftedLoss()(Tensor(logits), Tensor(labels))
    assert float(found.asnumpy()) == pytest.approx(losses[:2].mean(), rel=LAYER)


def test_smoothed_labels_are_cross_entropy_with_a_share_on_every_class() -> None:
    logits = RNG.standard_normal((6, 5)).astype(np.float32)
    labels = RNG.integers(0, 5, 6).astype(np.int32)
    wanted = 0.8 * np.eye(5)[labels] + 0.2 / 5
    exact = logits.astype(np.float64)
    chances = np.exp(exact) / np.exp(exact).sum(1, keepdims=True)
    expected = -(wanted * np.log(chances)).sum(1).mean()
    found = Classification().loss(0.2)(Tensor(logits), Tensor(labels))
    assert float(found.asnumpy()) == pytest.approx(expected, rel=LAYER)


@pytest.mark.gate
def test_smoothing_mixes_in_the_mean_over_the_vocabulary() -> None:
    ids = IDS[:20].reshape(4, 5)
    logits = RNG.standard_normal((4, 5, 7)).astype(np.float32)
    exact = logits[:, :-1].astype(np.float64)
    uniform = (np.log(np.exp(exact).sum(-1)) - exact.mean(-1)).mean()
    expected = 0.9 * next_token_losses(logits, ids).mean() + 0.1 * uniform
    found = ShiftedLoss(0.1)(Tensor(logits), Tensor(ids))
    assert float(found.asnumpy()) == pytest.approx(expected, rel=LAYER)


def test_the_last_position_gets_no_gradient() -> None:
    ids = IDS[:20].reshape(4, 5)
    logits = Tensor(RNG.standard_normal((4, 5, 7)).astype(np.float32))
    grads = ms.grad(ShiftedLoss())(logits, Tensor(ids)).asnumpy()
    assert not grads[:, -1].any()
    assert np.abs(grads[:, :-1]).min() > 0


@pytest.mark.gate
def test_perplexity_counts_every_window_once() -> None:
    """The last batch is filled up; the score is that of the text in windows."""
    split, network = BlockSplit(IDS, 6), Bigrams(TABLE)
    task = Language()

    def rows():
        for start in range(0, 12, 4):
            index = np.arange(start, start + 4)
            ids, labels = split.batch(index % len(split))
            mark = np.where(index < len(split), index, -1).astype(np.int32)
            yield Tensor(ids), Tensor(labels), Tensor(mark)

    found = task.evaluate(network, rows())
    expected = perplexity(network, IDS, window=6)
    # batches of another size: sums in another order
    assert found.value == pytest.approx(expected.value, rel=LAYER)
    assert (found.samples, found.tokens) == (expected.samples, expected.tokens) == (10, 50)
    assert task.evaluate(network, rows()).merit == pytest.approx(found.merit, rel=LAYER)
    assert found.merit == -found.loss


def test_data_and_networks_say_what_they_are_for() -> None:
    assert isinstance(task_of(SimpleNamespace()), Classification)
    assert isinstance(task_of(Bigrams(TABLE)), Classification)
    assert DataSet.task == "classification"
    assert isinstance(task_of(LanguageSet), Language)


def test_a_method_without_meaning_for_a_task_is_refused() -> None:
    method = SwiftLearn(SwiftLearnSettings(keep=0.5))
    check_task([Method(Section()), method], "classification")
    with pytest.raises(ConfigError, match=r"'swiftlearn' is for classification.* for language"):
        check_task([Method(Section()), method], "language")
