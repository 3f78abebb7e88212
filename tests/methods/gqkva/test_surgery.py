from __future__ import annotations

import json

import mindspore as ms
import numpy as np
import pytest

import ms_eff
from ms_eff import models
from ms_eff.bench.counts import count, totals
from ms_eff.errors import ConfigError, PlanError
from ms_eff.methods.gqkva import GroupPlan, convert_attention, rebuild
from ms_eff.methods.gqkva.core import repeat
from ms_eff.methods.lowrank import apply_lowrank
from tests.tolerances import FP32

# arXiv:2311.03426, table 2 (ViT-S): kind, groups -> qkv width, parameters in millions, change in %
PAPER = {
    ("mha", None): (1152, 22.05, 0.0),
    ("gkva", 3): (960, 21.16, -4.04),
    ("gkva", 2): (896, 20.86, -5.40),
    ("mkva", None): (832, 20.57, -6.71),
    ("gqa", 3): (768, 20.27, -8.07),
    ("gqa", 2): (640, 19.68, -10.75),
    ("mqa", None): (512, 19.09, -13.42),
    ("gqkva", (2, 3)): (512, 19.09, -13.42),
    ("gqkva", (3, 2)): (448, 18.79, -14.78),
}
SMALL = {"image_size": 8, "patch_size": 4, "dim": 24, "depth": 2, "heads": 6, "num_classes": 5}


@pytest.fixture(scope="module")
def small():
    return models.build("vit", **SMALL, seed=1)


@pytest.fixture(scope="module")
def vit_s():
    return models.build("vit_small_patch16")


@pytest.mark.parametrize(("kind", "groups"), PAPER)
def test_parameters_are_the_papers(vit_s, kind, groups) -> None:
    width, millions, change = PAPER[kind, groups]
    grouped, _, report = convert_attention(vit_s, kind, groups)
    params = sum(p.size for p in grouped.trainable_params())
    assert grouped.blocks[0].attn.qkv.out_channels == width
    assert params == 22_050_664 - 12 * (1152 - width) * 385
    # the paper cuts its counts off at two digits, and takes its percentages from these
    assert millions <= params / 1e6 < millions + 0.01
    assert 100 * (params / 22_050_664 - 1) == pytest.approx(change, abs=0.05)
    assert sum(r.params_before - r.params_after for r in report) == 22_050_664 - params


def test_macs_fall_with_the_qkv_layer_alone(small) -> None:
    grouped, _, _ = convert_attention(small, "gkva", 2)
    before, after = (totals(count(n, (1, 3, 8, 8)))["macs"] for n in (small, grouped))
    assert before - after == 2 * 5 * 24 * (4 * 4)  # blocks, tokens, in, 4 heads of 4 channels


@pytest.mark.gate
@pytest.mark.parametrize(("kind", "groups"), [("gqa", 2), ("gqkva", (2, 3))])
def test_network_equals_the_plain_one_with_repeated_projections(small, kind, groups) -> None:
    grouped, _, report = convert_attention(small, kind, groups)
    assert all(0 < row.error < 1 for row in report)
    plain = models.build("vit", **SMALL)
    theirs = dict(grouped.parameters_and_names())
    for name, parameter in plain.parameters_and_names():
        value = theirs[name].asnumpy()
        if ".qkv." in name:
            value = repeat(value, grouped.blocks[0].attn.layout)
        parameter.set_data(ms.Tensor(value))
    images = ms.Tensor(np.random.default_rng(2).standard_normal((2, 3, 8, 8), dtype=np.float32))
    found, expected = grouped(images).asnumpy(), plain(images).asnumpy()
    np.testing.assert_allclose(found, expected, rtol=FP32, atol=FP32)


def test_original_stays_and_mha_is_the_identity(small) -> None:
    before = {name: p.asnumpy().copy() for name, p in small.parameters_and_names()}
    same, _, report = ms_eff.convert_attention(small, "mha")
    assert [row.error for row in report] == [0.0, 0.0]
    names = [p.name for p in same.get_parameters()]
    assert names == [p.name for p in small.get_parameters()]
    for name, parameter in same.parameters_and_names():
        assert parameter is not dict(small.parameters_and_names())[name]
        np.testing.assert_array_equal(parameter.asnumpy(), before[name])


def test_fresh_projections_have_the_initial_spread(small) -> None:
    grouped, _, report = convert_attention(small, "mqa", fresh_seed=4)
    assert report[0].error is None
    spread = grouped.blocks[0].attn.qkv.weight.asnumpy().std()
    assert spread == pytest.approx(0.02 * 0.88, rel=0.1)
    first, second = (block.attn.qkv.weight.asnumpy() for block in grouped.blocks)
    assert not np.array_equal(first, second)


def test_rebuilt_network_takes_the_weights_of_the_plan_it_came_from(small) -> None:
    grouped, plan, _ = convert_attention(small, "gqkva", (3, 2), include=["blocks.1.*"])
    assert plan.cells == ("blocks.1.attn",)
    again = GroupPlan.from_json(json.loads(json.dumps(plan.to_json())))
    assert again == plan
    rebuilt = rebuild(models.build("vit", **SMALL), again)
    shapes = {p.name: p.shape for p in grouped.get_parameters()}
    assert {p.name: p.shape for p in rebuilt.get_parameters()} == shapes


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": "x"}, "format = 'x'"),
        ({"groups": 2}, "takes a pair of numbers"),
        ({"cells": None}, "kind, groups and cells"),
    ],
)
def test_broken_plan_is_refused(change, message) -> None:
    values = GroupPlan("gqkva", (2, 3), ("a",)).to_json() | change
    with pytest.raises(PlanError, match=message):
        GroupPlan.from_json(values)


def test_what_cannot_be_grouped_is_named(small) -> None:
    with pytest.raises(PlanError, match=r"include: x\*.* it has: blocks\.0\.attn"):
        convert_attention(small, "mqa", include=["x*"])
    with pytest.raises(ConfigError, match=r"layer 'blocks\.0\.attn': groups: 4 does not divide"):
        convert_attention(small, "gqa", 4)
    grouped, _, _ = convert_attention(small, "mqa")
    with pytest.raises(PlanError, match="grouped already"):
        convert_attention(grouped, "mqa")
    decomposed, _, _ = apply_lowrank(small, rank=2)
    with pytest.raises(PlanError, match="name gqkva before lowrank"):
        convert_attention(decomposed, "mqa")
    with pytest.raises(PlanError, match=r"no attention 'blocks\.5\.attn'"):
        rebuild(small, GroupPlan("mqa", None, ("blocks.5.attn",)))


@pytest.mark.gate
def test_grouped_attention_decomposes(small) -> None:
    grouped, _, _ = convert_attention(small, "gqa", 2)
    decomposed, plan, _ = apply_lowrank(grouped, rank=2)
    assert {"blocks.0.attn.qkv", "blocks.0.attn.proj"} <= {entry.name for entry in plan.layers}
    images = ms.Tensor(np.zeros((1, 3, 8, 8), np.float32))
    assert decomposed(images).shape == (1, 5)
