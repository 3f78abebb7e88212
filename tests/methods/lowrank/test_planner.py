from __future__ import annotations

import numpy as np
import pytest
from mindspore import Tensor, nn

from ms_eff import models
from ms_eff.errors import ConfigError, PlanError
from ms_eff.methods.lowrank import apply_lowrank, rebuild
from ms_eff.methods.lowrank.layers import find_layers
from ms_eff.methods.lowrank.planner import NetworkSize, Planned, make_plan
from ms_eff.methods.lowrank.settings import make_settings
from tests.methods.lowrank.networks import Everything


def planned(network: nn.Cell, **settings: object) -> Planned:
    params = sum(p.size for p in network.get_parameters())
    return make_plan(find_layers(network), make_settings(settings), NetworkSize(params))


def counted_layers(network: nn.Cell) -> int:
    """Convolutions and dense layers on the main path, as the papers count them."""
    names = [n for n, c in network.cells_and_names() if isinstance(c, (nn.Conv2d, nn.Dense))]
    return sum("downsample" not in name for name in names)


@pytest.mark.parametrize(
    ("name", "exclude", "layers"),
    [
        ("resnet50", None, 115),
        # the papers' counts of the deeper two leave fc whole
        ("resnet101", ["conv1", "*.downsample.*", "fc"], 233),
        ("resnet152", ["conv1", "*.downsample.*", "fc"], 352),
    ],
)
def test_counted_layers_are_the_papers(name: str, exclude: list[str] | None, layers: int) -> None:
    network = models.build(name, width=8, stem="cifar", num_classes=40)
    settings = {"ratio": 2.0} if exclude is None else {"ratio": 2.0, "exclude": exclude}
    plan = planned(network, **settings).plan
    assert counted_layers(rebuild(network, plan)) == layers


def test_resnet50_at_ratio_two_has_the_papers_ranks_and_weights() -> None:
    network = models.build("resnet50")
    plan = planned(network, ratio=2.0).plan
    ranks = {entry.name: entry.rank for entry in plan.layers}
    assert ranks["layer1.0.conv1"] == (16,)
    assert ranks["layer1.0.conv2"] == (38, 38)
    assert ranks["layer1.0.conv3"] == (25,)
    assert ranks["layer4.2.conv1"] == (204,)
    assert ranks["layer4.2.conv2"] == (309, 309)
    assert ranks["fc"] == (335,)
    decomposed = rebuild(network, plan)
    assert sum(p.size for p in decomposed.get_parameters() if p.ndim > 1) == 14_086_659


def test_a_ratio_of_one_and_a_half_is_a_ratio() -> None:
    (entry,) = planned(nn.Dense(60, 60), ratio=1.5).plan.layers
    assert entry.rank == (20,)
    with pytest.raises(ConfigError, match=r"params = 1.5"):
        planned(nn.Dense(60, 60), params=1.5)


def test_each_skipped_layer_has_its_reason() -> None:
    network = nn.SequentialCell(
        nn.Dense(2, 2),
        nn.Dense(40, 40),
        nn.Conv2d(8, 8, 3, group=8),
        nn.Embedding(50, 16),
        nn.Conv2d(1, 2, 3),
        nn.Dense(64, 64),
    )
    found = planned(network, ratio=3.0, exclude=["1"], divisor=8)
    assert found.skipped == {
        "0": "no rank makes it 3 times smaller",
        "1": "excluded by '1'",
        "2": "it has 8 groups; only ungrouped ones are decomposed",
        "3": "embedding layers are not asked for",
        "4": "no rank makes it 3 times smaller",
    }
    assert [(e.name, e.rank) for e in found.plan.layers] == [("5", (8,))]
    assert planned(network, ratio=3.0, divisor=16).skipped["5"] == (
        "rank 10 rounds down to 0 at divisor 16"
    )
    assert planned(network, rank=20).skipped["1"] == (
        "at rank 20 its factors have 1600 weights, the layer 1600"
    )
    assert planned(network, rank=20).skipped["0"] == "rank 20 is above its full rank 2"
    assert planned(network, ratio=2.0, include=["5"]).skipped["1"] == "not included"
    assert planned(network, ranks={"5": 4}).skipped["1"] == "no pattern of ranks matches it"


def test_patterns_give_ranks_in_order() -> None:
    ranks = {"blocks.*": 3, "branches.0": [4, 5], "fc": {"ratio": 2.0}, "*": 2}
    plan = planned(Everything(), ranks=ranks, exclude=[]).plan
    assert {entry.name: entry.rank for entry in plan.layers} == {
        "conv1": (2, 2),
        "blocks.0": (3,),
        "downsample.0": (2,),
        "branches.0": (4, 5),
        "tied": (2,),
        "fc": (3,),
    }


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"rank": 100}, r"lowrank.rank: 100 is above the full rank of every layer .*24"),
        ({"ranks": {"fc": 11}}, r"lowrank.ranks: 'fc': 11 does not fit layer 'fc'.*at most 10"),
        ({"ranks": {"fc": [2, 2]}}, r"'fc': \[2, 2\] does not fit layer 'fc'"),
        ({"ranks": {"branches.0": [25, 2]}}, r"\[25, 2\] does not fit.*at most \[24, 24\]"),
        ({"ranks": {"fcc": 2}}, r"lowrank.ranks: 'fcc' matches no layer \(did you mean 'fc'\?\)"),
        ({"ratio": 2, "include": ["tide"]}, r"include: 'tide' matches no layer.*'tied'"),
        ({"ratio": 2, "exclude": ["head*"]}, r"exclude: 'head\*' matches no layer"),
        ({"ratio": 2, "exclude": ["*"]}, r"leave none of 7 layers \('conv1': excluded by '\*'\)"),
        ({"params": 0.05}, r"lowrank.params = 0.05: at most .* is the least"),
        ({"macs": 0.5}, r"lowrank.macs = 0.5: needs the shape of the network's input"),
    ],
)
def test_what_cannot_be_planned_is_said(settings: dict, message: str) -> None:
    with pytest.raises((PlanError, ConfigError), match=message):
        planned(Everything(), **settings)


def test_the_least_that_is_named_can_be_had() -> None:
    with pytest.raises(PlanError) as caught:
        planned(Everything(), params=0.05)
    least = float(str(caught.value).split("(")[1].split(")")[0])
    assert planned(Everything(), params=least + 0.001).plan.layers


def test_vbmf_finds_what_was_planted_and_leaves_noise_alone() -> None:
    rng = np.random.default_rng(0)
    low = rng.standard_normal((60, 4)) @ rng.standard_normal((4, 50))
    signal = low + rng.standard_normal((60, 50))
    network = nn.SequentialCell(
        nn.Dense(50, 60, weight_init=Tensor(signal.astype(np.float32))),
        nn.Dense(60, 60, weight_init=Tensor(rng.standard_normal((60, 60)).astype(np.float32))),
    )
    found = planned(network, vbmf=True)
    assert [(e.name, e.rank) for e in found.plan.layers] == [("0", (4,))]
    assert found.skipped["1"] == "VBMF finds nothing above the noise in it"


def test_a_budget_spares_the_layer_that_would_lose_most() -> None:
    rng = np.random.default_rng(1)
    decaying = np.linalg.qr(rng.standard_normal((64, 64)))[0] * 0.7 ** np.arange(64)
    flat = np.linalg.qr(rng.standard_normal((64, 64)))[0]
    network = nn.SequentialCell(
        *(nn.Dense(64, 64, weight_init=Tensor(w.astype(np.float32))) for w in (decaying, flat))
    )
    found = planned(network, params=0.7)
    assert [entry.name for entry in found.plan.layers] == ["0"]
    assert found.skipped["1"] == "it costs least to keep it: the budget is met without"


def test_a_budget_beats_the_uniform_ratio_of_the_same_size() -> None:
    rng = np.random.default_rng(2)
    cells = []
    for decay in (0.5, 0.9, 0.97, 0.99):
        weight = np.linalg.qr(rng.standard_normal((64, 64)))[0] * decay ** np.arange(64)
        cells.append(nn.Dense(64, 64, weight_init=Tensor(weight.astype(np.float32))))
    network = nn.SequentialCell(*cells)
    _, plan, uniform = apply_lowrank(network, ratio=2.0)
    share = sum(row.params_after for row in uniform) / sum(row.params_before for row in uniform)
    bias = 4 * 64
    total = 4 * 64 * 64 + bias
    _, _, ours = apply_lowrank(network, params=(share * (total - bias) + bias) / total)
    assert sum(row.params_after for row in ours) <= sum(row.params_after for row in uniform)

    def lost(rows: list) -> float:
        return -sum(np.log1p(-(row.error**2)) for row in rows)

    assert lost(ours) < 0.5 * lost(uniform)
    assert len(plan.layers) == 4
