import mindspore as ms
import numpy as np
import pytest
from mindspore import Tensor, nn

from ms_eff.train.evaluate import evaluate, predict
from tests.tolerances import LAYER


class Same(nn.Cell):
    def construct(self, inputs):
        return inputs


def batches(logits, labels, indices, size):
    for at in range(0, len(logits), size):
        yield tuple(Tensor(a[at : at + size]) for a in (logits, labels, indices))


def data():
    rng = np.random.default_rng(0)
    logits = 5 * rng.standard_normal((12, 4)).astype(np.float32)
    return logits, rng.integers(0, 4, 12).astype(np.int32), np.arange(12, dtype=np.int32)


def test_padding_is_not_counted():
    logits, labels, indices = data()
    indices[9:] = -1
    score = evaluate(Same(), batches(logits, labels, indices, 4))
    assert score.samples == 9
    assert score.accuracy == pytest.approx(np.mean(logits[:9].argmax(1) == labels[:9]))


def test_loss_is_the_mean_cross_entropy():
    logits, labels, indices = data()
    score = evaluate(Same(), batches(logits, labels, indices, 6))
    exact = logits.astype(np.float64)
    p = np.exp(exact) / np.exp(exact).sum(1, keepdims=True)
    assert score.loss == pytest.approx(-np.log(p[np.arange(12), labels]).mean(), rel=LAYER)


def test_huge_logits_do_not_overflow():
    logits = np.array([[1e4, 0.0]], np.float32)
    labels, index = np.array([0], np.int32), np.array([0], np.int32)
    assert evaluate(Same(), batches(logits, labels, index, 1)).loss == 0.0


def test_the_models_mode_is_put_back():
    logits, labels, indices = data()
    model = Same().set_train(True)
    outputs, found = predict(model, batches(logits, labels, indices, 6))
    assert outputs.shape == (12, 4)
    np.testing.assert_array_equal(found, indices[indices >= 0])
    assert model.training


def test_mirror_images_have_a_say():
    class Left(nn.Cell):
        def construct(self, images):
            return images[:, 0, 0, :2]

    images = np.array([[[[3.0, 0.0, 0.0, 1.0]]], [[[0.0, 3.0, 5.0, 1.0]]]], np.float32)
    batch = (Tensor(images), Tensor([0, 1], ms.int32), Tensor([0, 1], ms.int32))
    assert evaluate(Left(), [batch]).accuracy == 1.0
    mean = (images[:, 0, 0, :2] + images[:, 0, 0, :1:-1]) / 2  # (2, 0), (0.5, 4)
    expected = np.log(np.exp(mean).sum(1)) - mean[np.arange(2), [0, 1]]
    assert evaluate(Left(), [batch], mirror=True).loss == pytest.approx(
        float(expected.mean()), rel=1e-5
    )
