"""SAM against closed forms, and what must not change in a step."""

from __future__ import annotations

import numpy as np
import pytest
from mindspore import Tensor

from ms_eff.methods.small_data import SAM, SAMSettings
from tests.methods.small_data.problems import (
    Quadratic,
    SlowGradient,
    batch,
    definite,
    moved,
    network_step,
    step_over,
)
from tests.tolerances import LAYER
from tests.train.helpers import small_net, weights

ONES = Tensor(np.ones(2, np.float32))
H, W = definite()


def _sam(**settings) -> SAM:
    return SAM(SAMSettings(**settings))


def _gradient(**settings) -> np.ndarray:
    """Return what one step at learning rate 1 subtracts from w."""
    problem = Quadratic(H, W)
    step_over(problem, problem, _sam(**settings))(ONES, ONES)
    return W - problem.w.asnumpy()


def test_the_gradient_is_taken_at_distance_rho_uphill() -> None:
    g = H @ W
    expected = H @ (W + 0.05 * g / np.linalg.norm(g))
    np.testing.assert_allclose(_gradient(rho=0.05), expected, atol=1e-6, rtol=1e-6)


def test_adaptive_distance_is_in_units_of_the_weights() -> None:
    g = H @ W
    expected = H @ (W + 0.5 * W**2 * g / np.linalg.norm(W * g))
    np.testing.assert_allclose(_gradient(rho=0.5, adaptive=True), expected, atol=1e-6, rtol=1e-6)


def test_every_kth_step_is_sharp_and_the_others_are_plain() -> None:
    problem, method = Quadratic(H, W), _sam(rho=0.1, every=3)
    step = step_over(problem, problem, method, lr=0.1)
    w = W.astype(np.float64)
    for i in range(4):
        g = H @ w
        w -= 0.1 * (H @ (w + 0.1 * g / np.linalg.norm(g)) if i % 3 == 0 else g)
        step(ONES, ONES)
        np.testing.assert_allclose(problem.w.asnumpy(), w, atol=1e-6, rtol=1e-5)
    assert method.state()["steps"] == 4
    other = _sam(every=3)
    other.load_state(method.state())
    assert int(other.counter.asnumpy()) == 4


@pytest.mark.gate
def test_rho_zero_is_the_plain_step_and_statistics_move_once() -> None:
    images, labels = batch()
    nets = [small_net() for _ in range(3)]
    loud = dict(lr=0.1, optimizer="momentum", weight_decay=5e-4)
    network_step(nets[0], **loud)(images, labels)
    network_step(nets[1], _sam(rho=0.0), **loud)(images, labels)
    network_step(nets[2], _sam(rho=0.5), **loud)(images, labels)
    plain, still, sharp = (weights(net) for net in nets)
    for name, array in plain.items():
        np.testing.assert_array_equal(still[name], array, err_msg=name)
        if "moving" in name:
            np.testing.assert_array_equal(sharp[name], array, err_msg=name)
    assert not np.array_equal(sharp["4.weight"], plain["4.weight"])
    assert not np.array_equal(plain["1.moving_mean"], np.zeros(4))


@pytest.mark.gate
@pytest.mark.parametrize("every", [pytest.param(1, marks=pytest.mark.slow), 2])
def test_the_gradient_of_a_network_equals_two_passes_by_hand(every) -> None:
    images, labels = batch()
    arrays = (images.asnumpy(), labels.asnumpy())
    gradient, start = SlowGradient(small_net()), weights(small_net())
    flat = gradient(start, *arrays)
    norm = np.sqrt(sum((g**2).sum() for g in flat.values()))
    sharp = gradient(moved(start, flat, 0.5 / norm), *arrays)
    net = small_net()
    network_step(net, _sam(rho=0.5, every=every))(images, labels)
    after = weights(net)
    for name, grad in sharp.items():
        np.testing.assert_allclose(start[name] - after[name], grad, atol=LAYER, err_msg=name)


@pytest.mark.gate
@pytest.mark.parametrize("every", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_weights_come_back_bit_for_bit(every) -> None:
    images, labels = batch()
    net = small_net()
    before = weights(net)
    network_step(net, _sam(rho=3.0, every=every), lr=1e-45)(images, labels)  # a rate of zero
    for name, array in weights(net).items():
        if "moving" not in name:
            np.testing.assert_array_equal(array, before[name], err_msg=name)
