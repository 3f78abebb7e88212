from __future__ import annotations

import mindspore as ms
import numpy as np
import pytest
from mindspore import Tensor, nn

from ms_eff import models
from ms_eff.bench.latency import MomentumStep, measure
from ms_eff.errors import ConfigError


class Net(nn.Cell):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, width, 3)
        self.norm = nn.BatchNorm2d(width)
        self.head = nn.Dense(width, 4)

    def construct(self, x):
        return self.head(self.norm(self.conv(x)).mean((2, 3)))


@pytest.fixture(scope="module")
def nets():
    return {"dense": Net(8), "small": Net(4)}


def state(nets):
    return [p.asnumpy().copy() for net in nets.values() for p in net.get_parameters()]


@pytest.mark.gate
def test_both_kinds_are_measured_and_nothing_changes(nets):
    nets["dense"].set_train(True)
    nets["small"].set_train(False)
    before = state(nets)
    taken = measure(nets, (4, 1, 8, 8), warmup=1, runs=3)
    for name in nets:
        for kind in ("forward", "train_step"):
            row = taken[name][kind]
            assert (row["runs"], row["batch"]) == (3, 4)
            assert 0 < row["p10_ms"] <= row["median_ms"] <= row["p90_ms"]
            assert row["throughput_per_s"] == pytest.approx(4000 / row["median_ms"])
    assert taken["dense"]["forward"]["speedup"] == {"median": 1.0, "p10": 1.0, "p90": 1.0}
    assert (nets["dense"].training, nets["small"].training) == (True, False)
    for one, other in zip(before, state(nets), strict=True):
        np.testing.assert_array_equal(one, other)


def test_the_training_step_really_trains():
    # against NumPy: one momentum step from rest is plain gradient descent on the cross-entropy
    model = nn.Dense(3, 2, has_bias=False)
    weight = model.weight.asnumpy().astype(np.float64)
    inputs = np.array([[1.0, -2.0, 0.5]])
    step = MomentumStep(model)
    step.optimizer.learning_rate.set_data(Tensor(0.5, ms.float32))
    loss = step(Tensor(inputs, ms.float32), Tensor([1], ms.int32)).asnumpy()
    scores = np.exp(inputs @ weight.T)
    chances = scores / scores.sum()
    assert loss == pytest.approx(-np.log(chances[0, 1]), rel=1e-5)
    expected = weight - 0.5 * (chances - [[0, 1]]).T @ inputs
    np.testing.assert_allclose(model.weight.asnumpy(), expected, atol=1e-6)


def test_own_step_is_used(nets):
    seen = []

    def make(model):
        return lambda inputs, labels: seen.append((inputs.shape, int(labels.max())))

    measure(nets, (4, 1, 8, 8), kinds=["train_step"], warmup=0, runs=2, make_step=make)
    assert len(seen) == 4
    assert all(shape == (4, 1, 8, 8) and label < 4 for shape, label in seen)


@pytest.mark.gate
def test_a_language_model_learns_its_next_tokens():
    network = models.build("gpt2", vocab=20, positions=6, dim=8, depth=1, heads=2)
    taken = measure({"gpt2": network}, (2, 6), kinds=["train_step"], warmup=1, runs=2)
    assert taken["gpt2"]["train_step"]["median_ms"] > 0


def test_models_without_classes_are_refused_for_training():
    with pytest.raises(ConfigError, match=r"models\.conv: a training step needs"):
        measure({"conv": nn.Conv2d(1, 2, 3)}, (1, 1, 8, 8), kinds=["train_step"])
    classifier = nn.Embedding(3, 4)
    classifier.task, classifier.input_dtype = "language", ms.int32
    with pytest.raises(ConfigError, match=r"needs \(batch, length, vocabulary\) logits"):
        measure({"one token": classifier}, (5,), kinds=["train_step"])
    with pytest.raises(ConfigError, match="models: expected at least one"):
        measure({}, (1, 1, 8, 8))
