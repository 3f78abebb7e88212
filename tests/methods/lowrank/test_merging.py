"""The references: the papers' counts, the chain of five layers, NumPy's statistics."""

from __future__ import annotations

from pathlib import Path

import mindspore as ms
import numpy as np
import pytest
from mindspore import Tensor, nn

from ms_eff import models
from ms_eff.bench.counts import count, totals
from ms_eff.deploy.export import export
from ms_eff.errors import ConfigError, DataError, PlanError
from ms_eff.methods.base import ModelContext
from ms_eff.methods.lowrank import LayerPlan, LowRankPlan, apply_lowrank, rebuild
from ms_eff.methods.lowrank.blocks import find_blocks
from ms_eff.methods.lowrank.merging import merge_bottlenecks
from ms_eff.methods.lowrank.method import LowRank
from ms_eff.methods.lowrank.settings import LowRankSettings, make_settings
from ms_eff.methods.lowrank.statistics import estimate_statistics
from ms_eff.models.resnet import BasicBlock, Bottleneck, ResNet
from tests.methods.lowrank.networks import images, randomise, run, weights
from tests.tolerances import FP32


def small(seed: int = 0, block: type = Bottleneck) -> nn.Cell:
    net = ResNet(block, (1, 1, 1, 1), num_classes=5, width=8, stem="cifar")
    return randomise(net, seed).set_train(False)


def single(stride: int = 1) -> nn.Cell:
    return randomise(Bottleneck(np.random.default_rng(0), 12, 8, stride)).set_train(False)


class Inner(nn.Cell):
    """The path of a block without its shortcut, ReLUs, and last normalisation."""

    def __init__(self, block: nn.Cell, norms: bool) -> None:
        super().__init__(auto_prefix=False)
        self.block, self.norms = block, norms

    def construct(self, x: Tensor) -> Tensor:
        y = self.block.conv1(x)
        y = self.block.bn1(y) if self.norms else y
        y = self.block.conv2(y)
        y = self.block.bn2(y) if self.norms else y
        return self.block.conv3(y)


@pytest.mark.parametrize("stride", [1, 2])
def test_without_norms_and_relus_at_the_joints_it_is_the_chain_of_five(stride: int) -> None:
    block = single(stride)
    merged, _, _ = merge_bottlenecks(block, rank=3)
    # the same block with its 3x3 in Tucker form: five layers and two normalisations
    entry = LayerPlan("conv2", "conv", (8, 8, 3, 3), (3, 3))
    chain, _, _ = apply_lowrank(block, LowRankPlan((entry,)))
    x = images(2, 12, 7, 7)
    expected = run(Inner(chain, norms=True).set_train(False), x)
    found = run(Inner(merged, norms=False).set_train(False), x)
    np.testing.assert_allclose(found, expected, atol=FP32, rtol=FP32)


@pytest.mark.gate
@pytest.mark.parametrize(
    ("name", "params", "change"),
    [("resnet50", 12_398_856, -51.49), ("resnet101", None, -56.40), ("resnet152", None, -58.11)],
)
def test_parameters_are_the_papers(name: str, params: int | None, change: float) -> None:
    network = models.build(name)
    entries = tuple(
        LayerPlan(b.name, "bottleneck", b.shape, (b.shape[0] // 2,) * 2)
        for b in find_blocks(network)
    )
    merged = rebuild(network, LowRankPlan(entries))
    before, after = (sum(p.size for p in n.trainable_params()) for n in (network, merged))
    assert params in (after, None)
    assert round(100 * (after / before - 1), 2) == change
    block = merged.layer3[0]
    assert (block.conv1.has_bias, block.conv2.has_bias, block.conv3.has_bias) == (True, False, True)


@pytest.mark.gate
def test_without_biases_the_function_is_the_same() -> None:
    network = small()
    randomise(network)
    kept, _, _ = merge_bottlenecks(network)
    dropped, plan, _ = merge_bottlenecks(network, bias=False)
    assert not dropped.layer1[0].conv1.has_bias
    assert not dropped.layer1[0].conv3.has_bias
    x = images(4, 3, 8, 8)
    np.testing.assert_allclose(
        run(dropped.set_train(False), x), run(kept.set_train(False), x), atol=FP32, rtol=FP32
    )
    again = rebuild(network, LowRankPlan.from_json(plan.to_json()))
    ms.load_param_into_net(again, dropped.parameters_dict())
    np.testing.assert_array_equal(run(again.set_train(False), x), run(dropped, x))


def test_half_the_width_is_the_default_and_the_report_counts() -> None:
    network = small()
    merged, plan, report = merge_bottlenecks(network, input_shape=(1, 3, 8, 8))
    assert [e.rank[0] for e in plan.layers] == [4, 8, 16, 32]
    assert [type(b.cell) for b in find_blocks(merged)] == [Bottleneck] * 4
    before, after = (
        [r for r in count(n, (1, 3, 8, 8)) if r.name.startswith("layer2.0.conv")]
        for n in (network, merged)
    )
    row = report[1]
    assert (row.layer, row.decomposed) == ("layer2.0", True)
    assert row.macs_before == sum(r.macs for r in before)
    assert row.macs_after == sum(r.macs for r in after)
    assert row.params_after == 32 * 8 + 9 * 64 + 64 * 8
    assert 0 < row.error < 1


def test_the_original_stays_as_it_is() -> None:
    network = small()
    before = weights(network)
    merge_bottlenecks(network, calibration=[images(4, 3, 8, 8).asnumpy()])
    assert all(np.array_equal(value, before[name]) for name, value in weights(network).items())


def test_statistics_are_the_mean_over_the_batches() -> None:
    net = nn.SequentialCell(nn.Conv2d(3, 4, 3, has_bias=True), nn.BatchNorm2d(4), nn.ReLU(),
                            nn.Conv2d(4, 6, 1), nn.BatchNorm2d(6))  # fmt: skip
    randomise(net)
    net.set_train(False)
    net[3].set_train(True)
    batches = [images(5, 3, 6, 6, seed=s).asnumpy() * (s + 1) for s in range(3)]
    assert estimate_statistics(net, batches) == 3
    assert [c.training for c in net] == [False, False, False, True, False]
    means: list[list[np.ndarray]] = [[], []]
    variances: list[list[np.ndarray]] = [[], []]
    for batch in batches:
        y = batch
        for conv, norm, i in ((net[0], net[1], 0), (net[3], net[4], 1)):
            y = run(conv, Tensor(y)).astype(np.float64)
            means[i].append(y.mean((0, 2, 3)))
            variances[i].append(y.var((0, 2, 3), ddof=1))  # what a running variance gathers
            y = (y - y.mean((0, 2, 3), keepdims=True)) / np.sqrt(
                y.var((0, 2, 3), keepdims=True) + norm.eps
            )
            y = y * norm.gamma.asnumpy()[:, None, None] + norm.beta.asnumpy()[:, None, None]
            y = np.maximum(y, 0).astype(np.float32)
    for norm, mean, variance in zip((net[1], net[4]), means, variances, strict=True):
        np.testing.assert_allclose(norm.moving_mean.asnumpy(), np.mean(mean, 0), atol=FP32)
        np.testing.assert_allclose(norm.moving_variance.asnumpy(), np.mean(variance, 0), rtol=FP32)
    with pytest.raises(DataError, match="no batch came"):
        estimate_statistics(net, [])
    np.testing.assert_allclose(net[1].moving_mean.asnumpy(), np.mean(means[0], 0), atol=FP32)


def test_norms_that_gather_no_statistics_keep_theirs() -> None:
    class Partly(nn.Cell):
        def __init__(self) -> None:
            super().__init__()
            self.gathers = nn.BatchNorm2d(3)
            self.given = nn.BatchNorm2d(3, use_batch_statistics=False)
            self.idle = nn.BatchNorm2d(3)

        def construct(self, x: Tensor) -> Tensor:
            return self.given(self.gathers(x))

    net = randomise(Partly())
    before = weights(net)
    estimate_statistics(net, [images(5, 3, 6, 6).asnumpy()])
    changed = {
        name for name, value in weights(net).items() if not np.array_equal(value, before[name])
    }
    assert changed == {"gathers.moving_mean", "gathers.moving_variance"}


@pytest.mark.gate
def test_plan_and_weights_rebuild_it_bit_for_bit(tmp_path: Path) -> None:
    batches = [images(8, 3, 8, 8, seed=s).asnumpy() for s in range(3)]
    context = ModelContext((8, 3, 8, 8), lambda: iter([(b, np.zeros(8)) for b in batches]))
    method = LowRank(LowRankSettings(merge=0.5, branches=2))
    merged = method.change_model(small(), context).set_train(False)
    assert method.report["decomposed"] == 4
    assert merged.layer1[0].conv2.group == 2
    assert float(merged.layer4[0].bn1.moving_variance.asnumpy().min()) != 1.0
    LowRankPlan.from_json(method.plan).save(tmp_path / "plan.json")
    again = LowRank.rebuild(small(3), method.plan).set_train(False)
    ms.save_checkpoint(merged, str(tmp_path / "weights.ckpt"))
    loaded = ms.load_checkpoint(str(tmp_path / "weights.ckpt"))
    assert ms.load_param_into_net(again, loaded) == ([], [])
    assert list(weights(again)) == list(weights(merged))
    x = images(2, 3, 8, 8)
    np.testing.assert_array_equal(run(again, x), run(merged, x))
    # a plan file is applied as written
    other = LowRank(LowRankSettings(plan=tmp_path / "plan.json"))
    other.change_model(small(), context)
    assert other.plan["layers"] == method.plan["layers"]
    for format in ("mindir", "onnx"):
        export(merged, tmp_path / f"net.{format}", (2, 3, 8, 8))


def test_blocks_that_cannot_be_merged_say_why() -> None:
    with pytest.raises(PlanError, match=r"'layer1.0': a basic block has no 1x1 convolutions"):
        merge_bottlenecks(small(block=BasicBlock))
    with pytest.raises(PlanError, match=r"no bottleneck .*it has none at all"):
        merge_bottlenecks(nn.Dense(3, 3))
    network, _, _ = apply_lowrank(small(), rank=2, include=["layer1.0.conv1"])
    _, plan, report = merge_bottlenecks(network, exclude=["layer2.*"], rank=16)
    reasons = {row.layer: row.reason for row in report}
    assert reasons == {
        "layer1.0": "its conv1 is a LowRankConv1x1; merge before decomposing",
        "layer2.0": "excluded by 'layer2.*'",
        "layer3.0": "",
        "layer4.0": "",
    }
    assert [e.name for e in plan.layers] == ["layer3.0", "layer4.0"]
    _, _, report = merge_bottlenecks(small(), rank=16)
    assert report[0].reason == "rank 16 is above its width 8"


@pytest.mark.parametrize(
    ("wishes", "error", "message"),
    [
        ({"share": 1.5}, ConfigError, "share = 1.5"),
        ({"rank": 0}, ConfigError, "rank = 0"),
        ({"include": ["layre1.*"]}, PlanError, r"include 'layre1.\*' matches no block"),
        ({"divisor": 128}, PlanError, "rank 4 rounds down to 0 at 128"),
        ({"plan": LowRankPlan((LayerPlan("layer9.0", "bottleneck", (8, 8, 3, 3), (4, 4)),))},
         PlanError, "no block 'layer9.0'"),
        ({"plan": LowRankPlan((LayerPlan("layer1.0", "bottleneck", (9, 9, 3, 3), (4, 4)),))},
         PlanError, r"\(9, 9, 3, 3\) there, but \(8, 8, 3, 3\) here"),
        ({"plan": LowRankPlan((LayerPlan("fc", "dense", (5, 256), (4,)),))},
         PlanError, "'fc' is a dense; this plan merges nothing"),
    ],
)  # fmt: skip
def test_mistakes_are_named(wishes: dict, error: type, message: str) -> None:
    with pytest.raises(error, match=message):
        merge_bottlenecks(small(), **wishes)


def test_settings_that_make_no_sense_together_are_refused() -> None:
    with pytest.raises(ConfigError, match="drop freeze"):
        make_settings({"merge": 0.5, "freeze": "static"})
    with pytest.raises(ConfigError, match=r"call ms_eff.merge_bottlenecks\(network, share=0.5\)"):
        apply_lowrank(small(), merge=0.5)
    plan = LowRankPlan((LayerPlan("layer1.0", "bottleneck", (8, 8, 3, 3), (4, 4)),))
    with pytest.raises(PlanError, match=r"give it to ms_eff.merge_bottlenecks"):
        apply_lowrank(small(), plan)


def test_merging_takes_what_it_promises_from_the_whole_network() -> None:
    network = small()
    merged, _, report = merge_bottlenecks(network, input_shape=(1, 3, 8, 8))
    saved = sum((row.macs_before or 0) - (row.macs_after or 0) for row in report)
    before, after = (totals(count(n, (1, 3, 8, 8)))["macs"] for n in (network, merged))
    assert before - after == saved


def test_wishes_that_would_do_nothing_are_refused() -> None:
    network = small()
    _, plan, _ = merge_bottlenecks(network)
    with pytest.raises(ConfigError, match="a plan is carried out as written; drop share, bias"):
        merge_bottlenecks(network, plan, share=0.25, bias=True)
    with pytest.raises(ConfigError, match="share and rank say it twice"):
        merge_bottlenecks(network, share=0.25, rank=3)
    with pytest.raises(PlanError, match=r"exclude 'layer9\.\*' matches no block"):
        merge_bottlenecks(network, exclude=["layer9.*"])


def test_a_config_passes_share_and_bias_on() -> None:
    method = LowRank(make_settings({"merge": 0.25, "merge_bias": False, "exclude": ["layer1.*"]}))
    merged = method.change_model(small(), ModelContext((2, 3, 8, 8)))
    entries = LowRankPlan.from_json(method.plan).layers
    assert [(e.name, e.rank, e.bias) for e in entries] == [
        ("layer2.0", (4, 4), False),
        ("layer3.0", (8, 8), False),
        ("layer4.0", (16, 16), False),
    ]
    assert not merged.layer2[0].conv1.has_bias


def test_new_cells_keep_the_marks_and_modes_of_the_old_ones() -> None:
    network = small()
    block = network.layer1[0]
    block.conv1.to_float(ms.float16)
    block.conv2.to_float(ms.float32)
    block.bn2.set_train(True)
    block.conv3.weight.requires_grad = False
    merged = merge_bottlenecks(network)[0].layer1[0]
    assert merged.conv1.get_flags()["fp16"] is True
    assert merged.conv2.get_flags()["fp16"] is False
    assert merged.conv2.get_flags()["fp32"] is True
    assert "fp16" not in merged.conv3.get_flags()
    assert (merged.bn2.training, merged.bn1.training) == (True, False)
