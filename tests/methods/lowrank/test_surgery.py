"""The references are the layers themselves, and kernels composed by einsum."""

from __future__ import annotations

from pathlib import Path

import mindspore as ms
import numpy as np
import pytest
from mindspore import Tensor, nn

from ms_eff import models
from ms_eff.bench.counts import count
from ms_eff.errors import ConfigError, PlanError
from ms_eff.methods.lowrank import LayerPlan, LowRankPlan, apply_lowrank, rebuild
from ms_eff.methods.lowrank.layers import find_layers
from ms_eff.methods.lowrank.plan import max_ranks
from ms_eff.models.initial import projection
from ms_eff.models.row_sums import BiasAdd
from tests.methods.lowrank.networks import Bare, Everything, Tied, images, randomise, run, weights
from tests.tolerances import FP32, LAYER


def full_rank_plan(network: nn.Cell) -> LowRankPlan:
    entries = [
        LayerPlan(x.name, x.kind, x.shape, max_ranks(x.kind, x.shape))
        for x in find_layers(network)
        if not x.reason
    ]
    return LowRankPlan(tuple(entries))


GEOMETRIES = [
    nn.Conv2d(6, 8, 1, 2, pad_mode="valid", has_bias=True),
    nn.Conv2d(6, 8, 1, 2, pad_mode="same"),
    nn.Conv2d(6, 8, 1, 1, pad_mode="pad", padding=1, has_bias=True),
    nn.Conv2d(6, 8, 3, 2, pad_mode="pad", padding=1, has_bias=True),
    nn.Conv2d(6, 8, 3, 2, pad_mode="same", has_bias=True),
    nn.Conv2d(6, 8, (3, 5), (2, 1), pad_mode="valid"),
    nn.Conv2d(8, 6, 3, 1, pad_mode="pad", padding=(2, 1, 0, 2), dilation=2, has_bias=True),
    nn.Conv2d(8, 6, (1, 7), 1, pad_mode="same", dilation=(1, 2)),
]


@pytest.mark.parametrize("layer", GEOMETRIES)
def test_full_rank_is_exact_for_every_geometry(layer: nn.Conv2d) -> None:
    randomise(layer)
    x = images(2, layer.in_channels, 11, 10)
    compressed, _, (row,) = apply_lowrank(layer, full_rank_plan(layer))
    np.testing.assert_allclose(run(compressed, x), run(layer, x), atol=LAYER, rtol=LAYER)
    assert row.error < 1e-12


@pytest.mark.parametrize("shape", [(3, 7), (2, 4, 7)])
@pytest.mark.parametrize("activation", [None, "relu", nn.PReLU(1)])
def test_full_rank_dense_is_exact_with_its_activation(shape: tuple, activation: object) -> None:
    layer = randomise(nn.Dense(7, 5, activation=activation))
    compressed, _, _ = apply_lowrank(layer, full_rank_plan(layer))
    x = images(*shape)
    np.testing.assert_allclose(run(compressed, x), run(layer, x), atol=LAYER, rtol=LAYER)
    assert compressed.last.activation is not layer.activation or activation is None


@pytest.mark.parametrize("one_hot", [False, True])
def test_full_rank_embedding_is_exact(one_hot: bool) -> None:
    layer = randomise(nn.Embedding(11, 6, use_one_hot=one_hot))
    compressed, _, _ = apply_lowrank(layer, full_rank_plan(layer))
    ids = Tensor(np.array([[0, 10, 3], [5, 5, 1]], np.int32))
    np.testing.assert_allclose(run(compressed, ids), run(layer, ids), atol=LAYER, rtol=LAYER)
    assert [p.name for p in compressed.get_parameters()] == ["first.embedding_table", "last.weight"]


@pytest.mark.parametrize("kernel", [1, 3])
def test_truncated_factors_are_the_composed_kernel(kernel: int) -> None:
    layer = randomise(nn.Conv2d(12, 16, kernel, 2, pad_mode="same", has_bias=True))
    compressed, _, (row,) = apply_lowrank(layer, ratio=2.0)
    factors = [p.asnumpy().astype(np.float64) for p in compressed.factors().values()]
    if kernel == 1:
        composed = np.einsum("orhw,rchw->ochw", factors[1], factors[0])
    else:
        composed = np.einsum(
            "or,rshw,sc->ochw", factors[2][..., 0, 0], factors[1], factors[0][..., 0, 0]
        )
    original = layer.weight.asnumpy()
    error = np.linalg.norm(composed - original) / np.linalg.norm(original)
    assert row.error == pytest.approx(error, rel=1e-5)
    x = images(2, 12, 9, 9)
    ours = run(compressed, x)
    layer.weight.set_data(Tensor(composed.astype(np.float32)))
    np.testing.assert_allclose(ours, run(layer, x), atol=LAYER, rtol=LAYER)


def test_a_whole_network_keeps_its_outputs_at_full_rank() -> None:
    network = randomise(Everything()).set_train(False)
    x = images(2, 8, 12, 12)
    expected = run(network, x)  # compiled before the surgery, and again after it
    before = weights(network)
    compressed, plan, report = apply_lowrank(network, full_rank_plan(network))
    np.testing.assert_allclose(run(compressed, x), expected, atol=FP32, rtol=FP32)
    assert len(plan.layers) == 6
    assert [row.reason for row in report if not row.decomposed] == [
        "it has 4 groups; only ungrouped ones are decomposed"
    ]
    np.testing.assert_array_equal(run(network, x), expected)
    assert all(np.array_equal(value, before[name]) for name, value in weights(network).items())


def test_the_copy_shares_nothing_with_the_original() -> None:
    network = Everything()
    compressed, _, _ = apply_lowrank(network, ratio=2.0)
    before = weights(network)
    for parameter in compressed.get_parameters():
        parameter.set_data(Tensor(np.full(parameter.shape, 7, np.float32)))
    assert all(np.array_equal(value, before[name]) for name, value in weights(network).items())


def test_every_reference_to_a_layer_becomes_one_to_its_factors() -> None:
    network = Everything()
    compressed, _, _ = apply_lowrank(network, ratio=2.0)
    assert compressed.again is compressed.tied
    assert compressed.heads[0] is compressed.branches[0]
    assert compressed.blocks.cell_list[0] is compressed.blocks[0]


def test_parameters_are_named_after_the_weight_they_stand_for() -> None:
    network = Everything()
    compressed, _, _ = apply_lowrank(network, ratio=2.0)
    names = [p.name for p in compressed.get_parameters()]
    assert len(names) == len(set(names))
    # MindSpore names a cell with two names by both
    tied = network.tied.weight.name.removesuffix("weight")
    assert [n for n in names if n.startswith(("branches.0", tied))] == [
        "branches.0.first.weight",
        "branches.0.core.weight",
        "branches.0.last.weight",
        tied + "first.weight",
        tied + "last.weight",
        tied + "last.bias",
    ]


def test_names_in_a_resnet_are_stable() -> None:
    network = models.build("resnet50", width=16, stem="cifar", num_classes=10)
    plan = LowRankPlan((LayerPlan("layer1.0.conv2", "conv", (16, 16, 3, 3), (4, 4)),))
    names = [p.name for p in rebuild(network, plan).get_parameters() if "layer1.0.conv2" in p.name]
    assert names == [f"layer1.0.conv2.{factor}.weight" for factor in ("first", "core", "last")]


def test_a_training_step_moves_every_factor() -> None:
    compressed, _, _ = apply_lowrank(
        nn.SequentialCell(nn.Conv2d(8, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 1)), ratio=2.0
    )
    compressed.set_train()
    optimizer = nn.Momentum(compressed.trainable_params(), 0.1, 0.9)

    def loss(x: Tensor) -> Tensor:
        return (compressed(x) ** 2).mean()

    step = ms.value_and_grad(loss, None, optimizer.parameters)
    before = weights(compressed)
    optimizer(step(images(2, 8, 6, 6))[1])
    after = weights(compressed)
    assert len(after) == 5
    assert all(not np.array_equal(after[name], before[name]) for name in after)


def test_flags_types_and_frozenness_follow_the_layer() -> None:
    layer = nn.Dense(24, 24, dtype=ms.float16).to_float(ms.float16).set_train()
    layer.weight.requires_grad = False
    layer.bias.parallel_optimizer = False
    compressed, _, _ = apply_lowrank(layer, ratio=2.0)
    assert {p.dtype for p in compressed.get_parameters()} == {ms.float16}
    assert [p.name for p in compressed.trainable_params()] == ["last.bias"]
    assert compressed.last.get_flags()["fp16"]
    assert compressed.first.training
    assert not compressed.last.bias.parallel_optimizer


@pytest.mark.gate
def test_saved_weights_and_plan_give_the_same_logits_bit_for_bit(tmp_path: Path) -> None:
    def build(seed: int) -> nn.Cell:
        return models.build("resnet18", width=8, stem="cifar", num_classes=10, seed=seed)

    compressed, plan, _ = apply_lowrank(build(0), params=0.5)
    plan.save(tmp_path / "plan.json")
    ms.save_checkpoint(compressed, str(tmp_path / "weights.ckpt"))
    again = rebuild(build(1), LowRankPlan.load(tmp_path / "plan.json"))
    not_loaded, _ = ms.load_param_into_net(
        again, ms.load_checkpoint(str(tmp_path / "weights.ckpt"))
    )
    assert not_loaded == []
    assert list(weights(again)) == list(weights(compressed))
    x = images(2, 3, 16, 16)
    expected = run(compressed.set_train(False), x)
    np.testing.assert_array_equal(run(again.set_train(False), x), expected)


def test_report_says_what_was_done() -> None:
    network = randomise(Everything())
    _, plan, report = apply_lowrank(network, ratio=2.0, input_shape=(1, 8, 12, 12))
    rows = {row.layer: row for row in report}
    assert rows["conv1"].reason == "excluded by 'conv1'"
    assert rows["conv1"].params_before == rows["conv1"].params_after == 16 * 8 * 9
    fc = rows["fc"]
    assert (fc.rank, fc.params_before, fc.params_after) == ((3,), 240, 3 * 34)
    assert (fc.macs_before, fc.macs_after) == (240, 102)
    sigma = np.linalg.svd(network.fc.weight.asnumpy().astype(np.float64), compute_uv=False)
    assert fc.error == pytest.approx(np.linalg.norm(sigma[3:]) / np.linalg.norm(sigma), rel=1e-6)
    assert rows["tied"].macs_before == 2 * 24 * 24  # it is called twice
    assert [e.name for e in plan.layers] == [row.layer for row in report if row.decomposed]
    assert all(bool(row.reason) != row.decomposed for row in report)
    assert rows["fc"].to_json()["rank"] == (3,)


def test_macs_are_not_made_up() -> None:
    _, _, report = apply_lowrank(nn.Dense(32, 32), ratio=2.0)
    assert report[0].macs_before is None
    assert report[0].macs_after is None


@pytest.mark.parametrize("key", ["params", "macs"])
@pytest.mark.parametrize("share", [0.35, 0.6])
@pytest.mark.parametrize("divisor", [1, 4])
def test_a_budget_holds_for_the_whole_network(key: str, share: float, divisor: int) -> None:
    network = models.build("resnet18", width=8, stem="cifar", num_classes=10)
    shape = (1, 3, 16, 16)
    compressed, plan, _ = apply_lowrank(network, input_shape=shape, divisor=divisor, **{key: share})
    dense = sum(getattr(row, key) for row in count(network, shape))
    ours = sum(getattr(row, key) for row in count(compressed, shape))
    assert 0.97 * share < ours / dense <= share
    assert all(rank % divisor == 0 for entry in plan.layers for rank in entry.rank)


def test_a_plan_may_come_in_every_form(tmp_path: Path) -> None:
    network = nn.SequentialCell(nn.Dense(32, 32), nn.ReLU())
    _, plan, _ = apply_lowrank(network, ratio=2.0)
    plan.save(tmp_path / "plan.json")
    forms = (plan, plan.to_json(), tmp_path / "plan.json", {"ratio": 2.0}, {"rank": 8})
    for form in forms:
        assert apply_lowrank(network, form)[1].layers == plan.layers
    _, by_setting, _ = apply_lowrank(network, plan=None, **{"rank": 8})
    assert by_setting == plan
    with pytest.raises(ConfigError, match="a plan and rank were given"):
        apply_lowrank(network, plan, rank=8)


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (LayerPlan("fc1", "dense", (10, 24), (3,)), r"no layer 'fc1' \(did you mean 'fc'\?\)"),
        (LayerPlan("fc", "dense", (10, 25), (3,)), r"a dense of \(10, 25\) there.*\(10, 24\) here"),
        (LayerPlan("branches.1", "conv", (24, 6, 3, 3), (3, 3)), r"cannot be decomposed: .*groups"),
    ],
)
def test_a_plan_of_another_network_is_refused(entry: LayerPlan, message: str) -> None:
    for act in (apply_lowrank, rebuild):
        with pytest.raises(PlanError, match=message):
            act(Everything(), LowRankPlan((entry,)))


def test_a_plan_that_names_no_layer_is_an_error() -> None:
    with pytest.raises(PlanError, match="names no layer"):
        apply_lowrank(nn.Dense(8, 8), LowRankPlan(()))


def test_a_network_without_layers_is_an_error() -> None:
    with pytest.raises(PlanError, match="no layer with a weight"):
        apply_lowrank(Bare(), ratio=2.0)


def test_a_damaged_weight_is_named() -> None:
    network = nn.SequentialCell(nn.Dense(32, 32), nn.ReLU())
    network[0].weight.set_data(Tensor(np.full((32, 32), np.nan, np.float32)))
    for settings in ({"ratio": 2.0}, {"params": 0.5}, {"vbmf": True}):
        with pytest.raises(PlanError, match="layer '0': its weight holds NaN"):
            apply_lowrank(network, **settings)


def test_shared_tables_stay_and_the_rest_is_decomposed() -> None:
    network = Tied()
    compressed, _, report = apply_lowrank(
        network, ratio=2.0, layers=("dense", "embedding"), input_shape=(1, 5), input_dtype=ms.int32
    )
    assert [row.layer for row in report if row.decomposed] == ["mix"]
    assert compressed.head.weight is compressed.words.embedding_table
    ids = Tensor(np.array([[1, 2, 3]], np.int32))
    assert run(compressed, ids).shape == (1, 3, 30)


def test_factors_add_the_bias_as_the_layer_did() -> None:
    fast = projection(np.random.default_rng(0), 12, 8)
    for layer, kind in ((fast, BiasAdd), (nn.Dense(12, 8), type(nn.Dense(1, 1).bias_add))):
        found, _, _ = apply_lowrank(nn.SequentialCell(layer), rank=3)
        assert type(found[0].last.bias_add) is kind
        assert not hasattr(found[0].first, "bias_add")
