"""The compiled step: clipping, averages, loss scaling, transforms, subsets of weights."""

import dataclasses

import mindspore as ms
import numpy as np
import pytest
from mindspore import Tensor, nn

from ms_eff.train.average import Average
from ms_eff.train.optim import OptimizerState
from ms_eff.train.scaling import LossScale
from ms_eff.train.schedule import learning_rates
from ms_eff.train.settings import TrainSettings
from ms_eff.train.step import Forward, Step, TrainStep
from tests.tolerances import LAYER

RNG = np.random.default_rng(3)
X = RNG.standard_normal((6, 5)).astype(np.float32)
Y = RNG.integers(0, 3, 6).astype(np.int32)
W = RNG.standard_normal((3, 5)).astype(np.float32)


def make(settings, **options):
    net = nn.Dense(5, 3, weight_init=Tensor(W), bias_init="zeros")
    net.weight.set_data(Tensor(W))
    step = Step(net, Forward(net, nn.CrossEntropyLoss()), tuple(net.trainable_params()))
    state = OptimizerState(step.weights, settings, learning_rates(settings, 10, 0))
    return net, step, state, options


def gradient_of_w():
    """Softmax regression by hand: dL/dW = (p - onehot)^T x / n, bias likewise."""
    logits = X @ W.T
    p = np.exp(logits - logits.max(1, keepdims=True))
    p /= p.sum(1, keepdims=True)
    delta = (p - np.eye(3)[Y]) / len(Y)
    return delta.T @ X, delta.sum(0)


def test_one_sgd_step_follows_the_formula():
    settings = TrainSettings(optimizer="sgd", lr=0.5, schedule="constant", weight_decay=0.0)
    net, step, state, _ = make(settings)
    loss, outputs, rate = TrainStep(step, state)(Tensor(X), Tensor(Y))
    dw, _ = gradient_of_w()
    np.testing.assert_allclose(net.weight.asnumpy(), W - 0.5 * dw, atol=LAYER)
    np.testing.assert_allclose(outputs.asnumpy(), X @ W.T, atol=LAYER)
    assert float(rate.asnumpy()) == pytest.approx(0.5)
    assert float(loss.asnumpy()) > 0


def test_clipping_bounds_the_global_norm():
    settings = TrainSettings(optimizer="sgd", lr=1.0, schedule="constant", weight_decay=0.0)
    net, step, state, _ = make(settings)
    TrainStep(step, state, clip_norm=0.01)(Tensor(X), Tensor(Y))
    moved = np.concatenate([(net.weight.asnumpy() - W).ravel(), net.bias.asnumpy()])
    assert np.linalg.norm(moved) == pytest.approx(0.01, rel=1e-3)


@pytest.mark.parametrize("every", [1, 2])
def test_average_follows_its_recursion(every):
    settings = TrainSettings(optimizer="sgd", lr=0.5, schedule="constant", weight_decay=0.0)
    net, step, state, _ = make(settings)
    average = Average(net, 0.9, every)
    cell = TrainStep(step, state, average=average)
    expected, kept = W.copy(), 0.9**every
    for i in range(1, 4):
        cell(Tensor(X), Tensor(Y))
        if i % every == 0:
            expected = kept * expected + (1 - kept) * net.weight.asnumpy()
    np.testing.assert_allclose(average.arrays()["ema.weight"], expected, atol=LAYER)


@pytest.mark.gate
def test_scaled_step_equals_the_plain_one():
    settings = TrainSettings(optimizer="momentum", lr=0.5, schedule="constant")
    net, step, state, _ = make(settings)
    other, other_step, other_state, _ = make(settings)
    plain = TrainStep(step, state)
    scaled = TrainStep(other_step, other_state, scale=LossScale(1024.0, dynamic=False))
    for _ in range(2):
        first, second = plain(Tensor(X), Tensor(Y)), scaled(Tensor(X), Tensor(Y))
    np.testing.assert_allclose(net.weight.asnumpy(), other.weight.asnumpy(), atol=LAYER)
    np.testing.assert_allclose(first[0].asnumpy(), second[0].asnumpy(), atol=LAYER)


@pytest.mark.gate
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_filling_is_not_learned_from(smoothing):
    settings = TrainSettings(optimizer="sgd", lr=0.5, schedule="constant", weight_decay=0.0)
    nets = []
    filled = np.append(Y[:4], [-100, -100]).astype(np.int32)  # two samples stand in only for shape
    for inputs, labels in ((X[:4], Y[:4]), (X, filled)):
        net, step, state, _ = make(settings)
        forward = Forward(net, nn.CrossEntropyLoss(label_smoothing=smoothing))
        TrainStep(dataclasses.replace(step, forward=forward), state)(Tensor(inputs), Tensor(labels))
        nets.append(net.weight.asnumpy())
    np.testing.assert_allclose(nets[0], nets[1], atol=LAYER)


def test_overflow_skips_the_step_and_halves_the_scale():
    settings = TrainSettings(optimizer="momentum", lr=0.5, schedule="constant")
    net, step, state, _ = make(settings)
    scale = LossScale(2.0**10, dynamic=True, window=2)
    cell = TrainStep(step, state, scale=scale)
    bad = X.copy()
    bad[0, 0] = np.inf
    rate = cell(Tensor(bad), Tensor(Y))[2]
    assert float(rate.asnumpy()) < 0
    assert np.array_equal(net.weight.asnumpy(), W)
    assert int(state.step.asnumpy()) == 0
    assert float(scale.value.asnumpy()) == 2.0**9
    for _ in range(2):  # two finite steps in a row fill the window
        cell(Tensor(X), Tensor(Y))
    assert float(scale.value.asnumpy()) == 2.0**10
    assert not np.array_equal(net.weight.asnumpy(), W)


def test_transforms_act_on_the_decayed_gradient():
    settings = TrainSettings(optimizer="sgd", lr=1.0, schedule="constant", weight_decay=0.1)
    net, step, state, _ = make(settings)

    def centred(grad):
        return grad - grad.mean()

    def doubled(grad):
        return 2.0 * grad

    transforms = (lambda w: centred if w.name == "weight" else None, lambda w: doubled)
    TrainStep(dataclasses.replace(step, transforms=transforms), state)(Tensor(X), Tensor(Y))
    of_weight, of_bias = gradient_of_w()
    g = of_weight + 0.1 * W
    np.testing.assert_allclose(net.weight.asnumpy(), W - 2 * (g - g.mean()), atol=LAYER)
    np.testing.assert_allclose(net.bias.asnumpy(), -2 * of_bias, atol=LAYER)


@pytest.mark.gate
def test_two_phases_share_moments_and_freeze_bitwise():
    settings = TrainSettings(optimizer="momentum", lr=0.1, schedule="constant")
    net, step, state, _ = make(settings)
    only_bias = TrainStep(dataclasses.replace(step, weights=(net.bias,)), state)
    everything = TrainStep(step, state)
    everything(Tensor(X), Tensor(Y))
    weight, bias = net.weight.asnumpy().copy(), net.bias.asnumpy().copy()
    only_bias(Tensor(X), Tensor(Y))
    assert np.array_equal(net.weight.asnumpy(), weight)
    assert not np.array_equal(net.bias.asnumpy(), bias)


def test_half_precision_trains_and_keeps_float32_masters():
    from ms_eff.train.precision import mixed_precision

    settings = TrainSettings(optimizer="sgd", lr=0.5, schedule="constant", weight_decay=0.0)
    net, step, state, _ = make(settings)
    mixed_precision(net, "O2")
    cell = TrainStep(step, state, scale=LossScale(128.0, dynamic=False))
    _, outputs, _ = cell(Tensor(X), Tensor(Y))
    assert outputs.dtype == ms.float16
    assert net.weight.dtype == ms.float32
    half = 2.0**-9  # float16 keeps 11 bits; sums of five products lose two more
    np.testing.assert_allclose(net.weight.asnumpy(), W - 0.5 * gradient_of_w()[0], atol=half)
