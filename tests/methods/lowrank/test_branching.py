"""The references: parallel chains with slices cut by hand, counts by formula."""

from __future__ import annotations

import json
from pathlib import Path

import mindspore as ms
import numpy as np
import pytest
from mindspore import nn

import ms_eff
from ms_eff import models
from ms_eff.bench.counts import count
from ms_eff.deploy.export import export
from ms_eff.errors import ConfigError, PlanError
from ms_eff.methods.lowrank import LayerPlan, LowRankPlan, apply_lowrank, branch, rebuild
from ms_eff.methods.lowrank.freezing import frozen_factors
from tests.methods.lowrank.networks import images, randomise, run, weights
from tests.tolerances import LAYER


def layer(C: int = 12, S: int = 18) -> nn.Conv2d:
    return randomise(nn.Conv2d(C, S, 3, 2, pad_mode="same", has_bias=True))


def sliced(conv: nn.Conv2d, inputs: slice, outputs: slice) -> nn.Conv2d:
    """Return the convolution between some channels of an ungrouped one, without bias."""
    kernel = conv.weight.asnumpy()[outputs, inputs]
    S, C, k, _ = kernel.shape
    made = nn.Conv2d(C, S, k, conv.stride, pad_mode=conv.pad_mode, padding=conv.padding)
    made.weight.set_data(ms.Tensor(kernel))
    return made


@pytest.mark.gate
def test_the_grouped_form_is_the_sum_of_its_branches() -> None:
    conv, parts = layer(), 3
    full, _, _ = apply_lowrank(conv, ranks={"": [6, 9]})
    ours, plan, (row,) = branch(conv, parts, ranks={"": [6, 9]})
    x, everything = images(2, 12, 7, 7), slice(None)
    total = conv.bias.asnumpy()[:, None, None]
    for n in range(parts):
        r1, r2 = slice(2 * n, 2 * n + 2), slice(3 * n, 3 * n + 3)
        y = run(sliced(full.first, everything, r1), x)
        y = run(sliced(full.core, r1, r2), ms.Tensor(y))
        total = total + run(sliced(full.last, r2, everything), ms.Tensor(y))
    np.testing.assert_allclose(run(ours, x), total, atol=LAYER, rtol=LAYER)
    assert ours.core.weight.size == 6 * 9 * 9 // parts
    assert plan.layers[0].branches == parts
    assert row.params_after == sum(p.size for p in ours.factors().values())
    assert row.error > apply_lowrank(conv, ranks={"": [6, 9]})[2][0].error
    assert [p.name for p in frozen_factors(ours, "inner")] == ["core.weight"]


def test_one_branch_is_plain_tucker() -> None:
    conv, x = layer(), images(2, 12, 7, 7)
    plain, _, _ = apply_lowrank(conv, rank=5)
    np.testing.assert_array_equal(run(branch(conv, 1, rank=5)[0], x), run(plain, x))


@pytest.mark.parametrize("key", ["params", "macs"])
def test_a_budget_counts_the_groups(key: str) -> None:
    network = models.build("resnet18", width=8, stem="cifar", num_classes=10)
    shape = (1, 3, 16, 16)
    ours, plan, report = branch(network, 4, input_shape=shape, **{key: 0.4})
    assert all(r % 4 == 0 for entry in plan.layers for r in entry.rank)
    dense, now = (sum(getattr(row, key) for row in count(n, shape)) for n in (network, ours))
    assert 0.9 * 0.4 < now / dense <= 0.4
    saved = sum(getattr(r, f"{key}_before") - getattr(r, f"{key}_after") for r in report)
    assert dense - now == saved


@pytest.mark.gate
def test_plan_and_weights_rebuild_and_export(tmp_path: Path) -> None:
    def build(seed: int) -> nn.Cell:
        convs = nn.Conv2d(3, 12, 3, pad_mode="same"), nn.Conv2d(12, 12, 3, pad_mode="same")
        return randomise(nn.SequentialCell(convs[0], nn.ReLU(), convs[1]), seed).set_train(False)

    ours, plan, _ = ms_eff.branch(build(0), 2, ranks={"2": 6})
    values = json.loads(json.dumps(plan.to_json()))
    assert values["layers"][0]["branches"] == 2
    again = rebuild(build(1), values)
    ms.save_checkpoint(ours, str(tmp_path / "weights.ckpt"))
    ms.load_param_into_net(again, ms.load_checkpoint(str(tmp_path / "weights.ckpt")))
    assert list(weights(again)) == list(weights(ours))
    for key, value in weights(ours).items():
        np.testing.assert_array_equal(weights(again)[key], value)
    # biases and factors are all loaded: the first convolution is too
    x = images(2, 3, 6, 6)
    np.testing.assert_array_equal(run(again, x), run(ours, x))
    for format in ("mindir", "onnx"):
        export(ours, tmp_path / f"net.{format}", (2, 3, 6, 6))


def test_a_layer_too_narrow_for_its_branches_stays() -> None:
    _, _, (row,) = branch(layer(), 8, rank=5)
    assert row.reason == "rank [5, 5] rounds down to 0 at divisor 8"
    _, plan, _ = branch(layer(), 2, rank=8, divisor=3)
    assert plan.layers[0].rank == (6, 6)


def test_mistakes_are_named() -> None:
    with pytest.raises(ConfigError, match="branches = 0"):
        branch(layer(), 0)
    with pytest.raises(PlanError, match=r"rank \[6, 9\] is no multiple of its 2 branches"):
        LayerPlan("a", "conv", (12, 12, 3, 3), (6, 9), 2)
    with pytest.raises(PlanError, match="a dense cannot be branched"):
        LayerPlan("a", "dense", (12, 12), (6,), 2)
    values = {"name": "a", "kind": "conv", "shape": [9, 9, 3, 3], "rank": [2, 2], "branches": "2"}
    with pytest.raises(PlanError, match="branches = '2': a whole number is expected"):
        LowRankPlan.from_json({"format": "ms_eff.lowrank/1", "layers": [values]})
