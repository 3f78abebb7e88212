"""Meta-learning against closed forms on quadratic losses, and its rules on a real network."""

from __future__ import annotations

import numpy as np
import pytest
from mindspore import Tensor

from ms_eff.data.pipeline import IGNORED
from ms_eff.errors import ConfigError
from ms_eff.methods.registry import check_batches
from ms_eff.methods.small_data import (
    GhostBatchNorm,
    GhostBatchNormSettings,
    MetaLearning,
    MetaLearningSettings,
)
from ms_eff.methods.small_data.meta import deal
from ms_eff.train.optim import OptimizerState
from ms_eff.train.scaling import LossScale
from ms_eff.train.settings import TrainSettings
from ms_eff.train.step import Step, TrainStep
from tests.methods.small_data.problems import (
    Quadratic,
    SlowGradient,
    batch,
    definite,
    moved,
    network_step,
)
from tests.tolerances import LAYER
from tests.train.helpers import small_net, weights

H, W = definite()
# one sample a part, so that each part's loss is x times the quadratic: support 1 and 2, query 3, 4
X = np.array([1.0, 3.0, 2.0, 4.0], np.float32)
ORDER = Tensor(np.arange(4, dtype=np.int32))  # classes 0 to 3: dealt out in this order
PARTS = [(1.0, 3.0), (2.0, 4.0)]


def _meta(**settings) -> MetaLearning:
    return MetaLearning(MetaLearningSettings(**settings))


def _gradient(scale: LossScale | None = None, **settings) -> np.ndarray:
    problem = Quadratic(H, W)
    step = Step(problem, problem, (problem.w,))
    step = _meta(**settings).change_step(step, "")
    plain = TrainSettings(optimizer="sgd", lr=1.0, weight_decay=0.0)
    state = OptimizerState(step.weights, plain, np.ones(1, np.float32))
    _, outputs, _ = TrainStep(step, state, scale=scale)(Tensor(X), ORDER)
    np.testing.assert_allclose(outputs.asnumpy(), X)  # in the order of the batch
    return W - problem.w.asnumpy()


@pytest.mark.gate
@pytest.mark.parametrize(("order", "steps"), [("first", 1), ("second", 1), ("second", 3)])
def test_gradients_are_those_of_the_closed_form(order, steps) -> None:
    lr = 0.1
    expected = np.zeros(4)
    for support, query in PARTS:
        step = np.eye(4) - lr * support * H
        adapted = np.linalg.matrix_power(step, steps)
        gradient = query * H @ adapted @ W
        expected += adapted @ gradient if order == "second" else gradient
    found = _gradient(order=order, inner_steps=steps, inner_lr=lr)
    # a central difference of float32 gradients keeps four digits of the part it corrects
    tolerance = 2e-3 if order == "second" else 1e-5
    np.testing.assert_allclose(found, expected, atol=tolerance)
    if order == "second":
        first = sum(
            q * H @ np.linalg.matrix_power(np.eye(4) - lr * s * H, steps) @ W for s, q in PARTS
        )
        assert np.abs(first - expected).max() > 0.1  # the two orders can be told apart


@pytest.mark.gate
@pytest.mark.parametrize(("order", "steps"), [("first", 2), ("second", 1), ("second", 3)])
def test_a_task_sees_one_dropout_mask_on_its_support(order, steps) -> None:
    """w passes dropout: each loss is a quadratic over what its mask leaves."""
    hessian, start = definite(8)
    problem = Quadratic(hessian, start, dropout=0.3)
    drop, lr = problem.drop, 0.1
    first, second = (table.asnumpy() for table in (drop.first, drop.second))
    drawn = int(drop.drawn.asnumpy())
    step = _meta(order=order, inner_steps=steps, inner_lr=lr).change_step(
        Step(problem, problem, (problem.w,)), ""
    )
    plain = TrainSettings(optimizer="sgd", lr=1.0, weight_decay=0.0)
    state = OptimizerState(step.weights, plain, np.ones(1, np.float32))
    TrainStep(step, state).set_train(True)(Tensor(X), ORDER)
    masks = [np.diag(first[row % 1021] * second[row % 1019]) for row in range(drawn, drawn + 3)]
    assert len({mask.tobytes() for mask in masks}) == 3
    expected = np.zeros(8)
    # only a task's first pass moves the counter: the second begins where the first one's query drew
    for (support, query), seen, asked in zip(PARTS, masks, masks[1:], strict=False):
        adapted = np.eye(8) - lr * support * seen @ hessian @ seen
        adapted = np.linalg.matrix_power(adapted, steps)
        gradient = query * asked @ hessian @ asked @ adapted @ start
        expected += adapted @ gradient if order == "second" else gradient
    tolerance = 5e-3 if order == "second" else 1e-5
    np.testing.assert_allclose(start - problem.w.asnumpy(), expected, atol=tolerance)


def test_without_adaptation_it_is_the_sum_of_the_query_gradients() -> None:
    expected = sum(query * H @ W for _, query in PARTS)
    np.testing.assert_allclose(_gradient(inner_lr=0.0), expected, rtol=1e-6, atol=1e-6)


@pytest.mark.gate
def test_a_loss_scale_does_not_reach_the_adaptation() -> None:
    plain = _gradient(order="second", inner_lr=0.1)
    scaled = _gradient(LossScale(1024.0, dynamic=False), order="second", inner_lr=0.1)
    np.testing.assert_allclose(scaled, plain, atol=2e-3)


def test_each_part_has_its_share_of_every_class_and_no_sample_twice() -> None:
    labels = np.random.default_rng(0).permutation(np.repeat(np.arange(5), [9, 6, 4, 8, 5]))
    order = deal(Tensor(labels.astype(np.int32))).asnumpy()
    assert sorted(order.tolist()) == list(range(32))
    counts = np.array([np.bincount(part, minlength=5) for part in labels[order].reshape(4, 8)])
    assert (np.ptp(counts, axis=0) <= 1).all()
    assert counts.min() >= 1


@pytest.mark.gate
def test_statistics_come_from_the_unadapted_weights() -> None:
    images, labels = batch(16)
    net = small_net()
    step = network_step(net, _meta(inner_lr=5.0), lr=1e-45)
    before = weights(net)
    step(images, labels)
    after = weights(net)
    for name in ("0.weight", "4.weight", "1.gamma"):
        np.testing.assert_array_equal(after[name], before[name], err_msg=name)
    # as two forwards over the support quarters leave them
    net = small_net()
    order = deal(labels).asnumpy()
    net.set_train(True)
    for quarter in (order[:4], order[8:12]):
        net(Tensor(images.asnumpy()[quarter]))
    expected = weights(net)["1.moving_mean"]
    np.testing.assert_allclose(after["1.moving_mean"], expected, atol=LAYER)


@pytest.mark.gate
@pytest.mark.parametrize("order", [pytest.param("first", marks=pytest.mark.slow), "second"])
def test_gradients_equal_a_slow_reference_on_a_network(order) -> None:
    images, labels = (a.asnumpy() for a in batch(16))
    gradient, start = SlowGradient(small_net()), weights(small_net())
    expected: dict[str, np.ndarray] = {}
    for support, query in deal(Tensor(labels)).asnumpy().reshape(2, 2, 4):
        task, asked = ((images[part], labels[part]) for part in (support, query))
        inner = gradient(start, *task)
        outer = gradient(moved(start, inner, -0.5), *asked)
        if order == "second":
            reach = 0.01 / np.sqrt(sum((g**2).sum() for g in outer.values()))
            ahead, behind = (gradient(moved(start, outer, s * reach), *task) for s in (1, -1))
            curvature = moved(ahead, behind, -1.0)
            outer = moved(outer, curvature, -0.5 / (2 * reach))
        expected = moved(outer, expected, 1.0) if expected else outer
    ours = small_net()
    step = network_step(ours, _meta(inner_lr=0.5, order=order))
    step(Tensor(images), Tensor(labels))
    for name, grad in expected.items():
        found = start[name] - weights(ours)[name]
        # a difference of gradients over 0.02 in norm magnifies their rounding
        atol = LAYER if order == "first" else 500 * LAYER
        np.testing.assert_allclose(found, grad, atol=atol, err_msg=name)


def test_a_batch_that_cannot_be_dealt_is_refused() -> None:
    message = r"data\.batch_size = 10: 'meta_learning' divides it into 4 equal parts; .* of 4$"
    with pytest.raises(ConfigError, match=message):
        check_batches([_meta()], 10, drop_last=True)


def test_ghost_batches_are_parts_of_a_quarter() -> None:
    methods = [_meta(), GhostBatchNorm(GhostBatchNormSettings(splits=4))]
    message = (
        "'meta_learning' and 'ghost_batch_norm' divide it into 4 x 4 equal parts; .* 4 x 4 = 16"
    )
    with pytest.raises(ConfigError, match=message):
        check_batches(methods, 8, drop_last=True)
    with pytest.raises(ConfigError, match="'ghost_batch_norm' and 'meta_learning' divide it"):
        check_batches(methods[::-1], 8, drop_last=True)
    check_batches(methods, 32, drop_last=True)


def test_a_last_batch_that_is_not_full_is_refused() -> None:
    # of three samples and filling, one quarter is all filling, and its loss is 0 / 0
    labels = Tensor(np.array([0, 1, 2] + 5 * [IGNORED], np.int32))
    quarters = labels.asnumpy()[deal(labels).asnumpy()].reshape(4, 2)
    assert (quarters == IGNORED).all(1).any()
    with pytest.raises(ConfigError, match=r"data\.drop_last = false: 'meta_learning' .*; use true"):
        check_batches([_meta()], 8, drop_last=False)
