"""Criteria on networks: what they promise, what they need, and what they keep of the accuracy."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from mindspore import Tensor, nn, ops

import ms_eff
from ms_eff.errors import ConfigError, PlanError
from ms_eff.methods.base import ModelContext
from ms_eff.methods.lowrank import LowRankPlan, LowRankSettings, apply_lowrank, rebuild
from ms_eff.methods.lowrank.layers import network_params
from ms_eff.methods.lowrank.method import LowRank
from ms_eff.methods.lowrank.settings import make_settings
from tests.methods.lowrank.networks import Everything, Tied, images, randomise, run, weights
from tests.methods.lowrank.test_surgery import full_rank_plan
from tests.tolerances import FP32

Array = np.ndarray
DATA = [(images(24, 8, 12, 12).asnumpy(), np.arange(24) % 10)]


def correlated(*shape: int) -> Array:
    """Return data whose last axis has a few strong directions."""
    rng = np.random.default_rng(5)
    mix = rng.standard_normal((shape[-1], shape[-1])) * np.logspace(0, -2, shape[-1])[:, None]
    return (rng.standard_normal(shape) @ mix).astype(np.float32)


@pytest.mark.gate
@pytest.mark.parametrize("channels", [False, True])
def test_activation_keeps_more_of_the_output_than_weight(channels: bool) -> None:
    x = correlated(32, 24)
    layer: nn.Cell = nn.Dense(24, 20)
    if channels:
        x = np.moveaxis(correlated(8, 6, 6, 24), -1, 1)
        layer = nn.Conv2d(24, 20, 3, pad_mode="same")
    randomise(layer)
    x = np.ascontiguousarray(x)
    errors, shares = {}, {}
    for criterion in ("weight", "activation"):
        compressed, plan, (row,) = apply_lowrank(
            layer, ratio=2.0, criterion=criterion, calibration=[(x, None)]
        )
        errors[criterion] = np.linalg.norm(run(compressed, Tensor(x)) - run(layer, Tensor(x)))
        shares[criterion] = row.criterion_error
        assert (row.criterion, plan.criterion) == (criterion, criterion)
    assert errors["activation"] < 0.8 * errors["weight"]
    bias = layer.bias.asnumpy() if layer.has_bias else np.zeros(20)
    plain = run(layer, Tensor(x)) - (bias[:, None, None] if channels else bias)
    assert shares["weight"] is None
    expected = errors["activation"] / np.linalg.norm(plain)
    assert shares["activation"] == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("source", [{"ratio": 2.0}, {"params": 0.6}, {"macs": 0.6}])
@pytest.mark.parametrize("criterion", ["activation", "two_sided"])
def test_every_source_of_ranks_takes_every_criterion(source: dict, criterion: str) -> None:
    network = randomise(Everything())
    compressed, plan, report = ms_eff.apply_lowrank(
        network, criterion=criterion, calibration=DATA, input_shape=(4, 8, 12, 12), **source
    )
    found = {row.layer: row for row in report}
    assert {entry.kind for entry in plan.layers} <= {"dense", "conv", "conv1x1"}
    assert all((row.criterion_error is not None) == row.decomposed for row in report)
    assert all(0 < row.criterion_error < 1 for row in report if row.decomposed)
    if "params" in source:
        assert network_params(compressed) <= 0.6 * network_params(network)
    assert found["conv1"].reason == "excluded by 'conv1'"


@pytest.mark.parametrize("criterion", ["activation", "two_sided"])
def test_full_rank_is_exact(criterion: str) -> None:
    network = randomise(Everything()).set_train(False)
    plan = LowRankPlan(full_rank_plan(network).layers, {"criterion": criterion})
    compressed, _, report = apply_lowrank(network, plan, calibration=DATA)
    x = images(2, 8, 12, 12)
    np.testing.assert_allclose(run(compressed, x), run(network, x), atol=FP32)
    assert all(row.criterion_error < 1e-6 for row in report if row.decomposed)


def test_a_plan_is_carried_out_by_its_criterion_and_rebuilt_without_data(tmp_path: Path) -> None:
    network = randomise(Everything())
    first, plan, _ = apply_lowrank(network, ratio=2.0, criterion="two_sided", calibration=DATA)
    plan.save(tmp_path / "plan.json")
    again, _, _ = apply_lowrank(network, tmp_path / "plan.json", calibration=DATA)
    for name, value in weights(first).items():
        np.testing.assert_array_equal(weights(again)[name], value)
    empty = rebuild(Everything(), LowRankPlan.load(tmp_path / "plan.json"))
    assert weights(empty).keys() == weights(first).keys()
    with pytest.raises(ConfigError, match="criterion = two_sided: needs data; pass calibration"):
        apply_lowrank(network, tmp_path / "plan.json")


def test_the_method_takes_the_runs_data_and_loss() -> None:
    asked = []

    def loss(outputs: Tensor, labels: Tensor) -> Tensor:
        asked.append(labels.shape)
        return ops.cross_entropy(outputs, labels)

    context = ModelContext((4, 8, 12, 12), lambda: iter(DATA), loss, True)
    settings = {"ratio": 2.0, "criterion": "two_sided", "calibration_samples": 12}
    method = LowRank(LowRankSettings(**settings, freeze="sequential"))
    changed = method.change_model(randomise(Everything()), context)
    expected, _, _ = apply_lowrank(randomise(Everything()), calibration=DATA, loss=loss, **settings)
    for name, value in weights(expected).items():
        np.testing.assert_array_equal(weights(changed)[name], value)
    assert set(asked) == {(12,)}
    assert method.plan is not None
    assert method.plan["settings"]["criterion"] == "two_sided"
    with pytest.raises(ConfigError, match=r"lowrank.criterion = two_sided: needs data"):
        method.change_model(randomise(Everything()), ModelContext((4, 8, 12, 12)))


def test_branches_keep_the_blocks_of_the_weighted_core() -> None:
    network = randomise(Everything())
    options = {"ranks": {"branches.0": [8, 8]}, "criterion": "two_sided", "calibration": DATA}
    whole, _, _ = apply_lowrank(network, **options)
    grouped, _, _ = apply_lowrank(network, branches=2, **options)
    core, blocks = (net.branches[0].core.weight.asnumpy() for net in (whole, grouped))
    np.testing.assert_allclose(blocks[:4], core[:4, :4], atol=1e-6)
    np.testing.assert_allclose(blocks[4:], core[4:, 4:], atol=1e-6)


def test_a_rank_search_may_go_with_it() -> None:
    _, plan, report = apply_lowrank(
        randomise(Everything()),
        ratio=2.0,
        criterion="two_sided",
        rank_search={"timer": "model"},
        calibration=DATA,
        input_shape=(4, 8, 12, 12),
    )
    assert plan.criterion == "two_sided"
    assert any(row.search is not None for row in report)


class Unused(nn.Cell):
    """An embedding, a dense layer, and one that is never called."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.mix, self.idle = nn.Embedding(30, 16), nn.Dense(16, 16), nn.Dense(16, 16)

    def construct(self, ids: Tensor) -> Tensor:
        return self.mix(self.words(ids))


def test_what_it_cannot_judge_stays_with_a_reason() -> None:
    ids = np.arange(24, dtype=np.int32).reshape(4, 6)
    _, _, report = apply_lowrank(
        Unused(), rank=4, layers=("dense", "embedding"), criterion="two_sided", calibration=[ids]
    )
    reasons = {row.layer: row.reason for row in report}
    assert reasons == {
        "words": "embeddings are decomposed by criterion weight alone, not two_sided",
        "mix": "",
        "idle": "the calibration data never reach it",
    }


def test_a_plan_by_hand_may_not_ask_for_it_either() -> None:
    plan = {
        "format": "ms_eff.lowrank/1",
        "settings": {"criterion": "activation"},
        "layers": [{"name": "words", "kind": "embedding", "shape": [30, 16], "rank": 4}],
    }
    ids = np.arange(24, dtype=np.int32).reshape(4, 6)
    with pytest.raises(PlanError, match="'words' cannot be decomposed: embeddings are"):
        apply_lowrank(Unused(), plan, calibration=[ids])
    plan["settings"] = {"criterion": "two-sided"}
    with pytest.raises(
        PlanError, match=r"unknown criterion 'two-sided' \(did you mean 'two_sided'"
    ):
        apply_lowrank(Tied(), plan)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"ratio": 2.0, "criterion": "both"}, "criterion = 'both': it should be 'weight'"),
        ({"merge": 0.5, "criterion": "two_sided"}, "merge goes by the weight alone, not by"),
        ({"ratio": 2.0, "calibration_samples": 8}, "calibration_samples is for criterion"),
        ({"plan": "p.json", "criterion": "weight"}, "applied as written; drop criterion"),
    ],
)
def test_settings_that_do_not_fit_are_refused(given: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make_settings(given)


class Digits(nn.Cell):
    """A small classifier of 8x8 digits."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, 16, 3, pad_mode="same", has_bias=True)
        self.second = nn.Conv2d(16, 32, 3, 2, pad_mode="same", has_bias=True)
        self.third = nn.Conv2d(32, 32, 3, pad_mode="same", has_bias=True)
        self.hidden = nn.Dense(512, 64, activation="relu")
        self.out = nn.Dense(64, 10)
        self.relu = nn.ReLU()

    def construct(self, x: Tensor) -> Tensor:
        x = self.relu(self.first(x))
        x = self.relu(self.second(x))
        x = self.relu(self.third(x))
        return self.out(self.hidden(x.reshape(x.shape[0], -1)))


@pytest.mark.gate
def test_two_sided_keeps_more_accuracy_than_weight_at_the_same_size() -> None:
    from sklearn.datasets import load_digits

    bunch = load_digits()
    x = (bunch.images[:, None] / 8.0 - 1.0).astype(np.float32)
    y = bunch.target.astype(np.int32)
    network = randomise(Digits())
    head = nn.WithLossCell(network, nn.CrossEntropyLoss())
    step = nn.TrainOneStepCell(head, nn.Adam(network.trainable_params(), 2e-3)).set_train()
    rng = np.random.default_rng(0)
    for _ in range(6):
        order = rng.permutation(1400)
        for start in range(0, 1400 - 99, 100):
            chosen = order[start : start + 100]
            step(Tensor(x[chosen]), Tensor(y[chosen]))

    def accuracy(net: nn.Cell) -> float:
        net.set_train(False)
        return float(np.mean(run(net, Tensor(x[1400:])).argmax(axis=1) == y[1400:]))

    found = {}
    for criterion in ("weight", "two_sided"):
        compressed, _, _ = apply_lowrank(
            network, params=0.18, criterion=criterion, calibration=[(x[:256], y[:256])]
        )
        assert 0.17 < network_params(compressed) / network_params(network) <= 0.18
        found[criterion] = accuracy(compressed)
    dense = accuracy(network)
    assert dense > 0.85
    assert found["two_sided"] > dense - 0.05
    assert found["two_sided"] > found["weight"] + 0.15
