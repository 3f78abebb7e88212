from __future__ import annotations

import mindspore as ms
import numpy as np
import pytest
from mindspore import Tensor, nn

from ms_eff import models
from ms_eff.errors import PlanError
from ms_eff.methods.base import ModelContext
from ms_eff.methods.lowrank.surgery import apply_lowrank
from ms_eff.methods.skipvit import SkipViTSettings, apply_skipvit
from ms_eff.methods.truncation import Truncation, TruncationSettings, rebuild, truncate_layers
from ms_eff.models.gpt2_files import save_gpt2
from ms_eff.models.llama import llama
from ms_eff.models.masks import causal_mask
from ms_eff.models.parents import load_parent
from ms_eff.train import checkpoint
from tests.tolerances import LAYER

GPT2 = {"vocab": 40, "positions": 8, "dim": 12, "depth": 4, "heads": 2}
IDS = np.random.default_rng(0).integers(0, 40, (2, 8)).astype(np.int32)


def arrays(network: nn.Cell) -> dict[str, np.ndarray]:
    return {name: p.asnumpy().copy() for name, p in network.parameters_and_names()}


def network_of(kind: str) -> tuple[nn.Cell, str, Tensor]:
    """Return a network of four blocks, the name of their list, and an input."""
    if kind == "vit":
        vit = models.build("vit", image_size=8, patch_size=4, dim=12, depth=4, heads=2)
        images = np.random.default_rng(1).standard_normal((2, 3, 8, 8)).astype(np.float32)
        return vit, "blocks", Tensor(images)
    if kind == "llama":
        cell = llama(0, vocab_size=40, dim=12, depth=4, heads=2, kv_heads=2, hidden=16)
        return cell, "model.layers", Tensor(IDS)
    if kind == "bert":
        bert = models.build("bert", **GPT2, dropout=0.1)
        tokens = np.stack([IDS, np.ones_like(IDS), np.zeros_like(IDS)], 1)
        return bert, "blocks", Tensor(tokens)
    return models.build("gpt2", **GPT2), "blocks", Tensor(IDS)


class _Chosen(nn.Cell):
    """A GPT-2 that runs through some of its own blocks: what a truncated one must compute."""

    def __init__(self, network: nn.Cell, kept: tuple[int, ...]) -> None:
        super().__init__(auto_prefix=False)
        self.network, self.kept = network, kept

    def construct(self, ids: Tensor, mask: Tensor) -> Tensor:
        x = self.network.word(ids) + self.network.position.weight[: ids.shape[1]]
        for index in self.kept:
            x = self.network.blocks[index](x, mask)
        return self.network.logits(x)


@pytest.mark.parametrize("kind", ["gpt2", "bert", "vit", "llama"])
def test_chosen_blocks_are_copied_whole_and_the_rest_stays(kind) -> None:
    network, name, _ = network_of(kind)
    before = arrays(network)
    student, plan, report = truncate_layers(network, 2)
    assert (plan.blocks, plan.kept) == (name, (0, 3))
    found = arrays(student)
    for new, old in enumerate(plan.kept):
        mine = [key for key in found if key.startswith(f"{name}.{new}.")]
        assert mine
        for key in mine:
            twin = key.replace(f"{name}.{new}.", f"{name}.{old}.")
            np.testing.assert_array_equal(found[key], before[twin])
    outside = {key for key in before if not key.startswith(name + ".")}
    assert outside == {key for key in found if not key.startswith(name + ".")}
    for key in outside:
        np.testing.assert_array_equal(found[key], before[key])
    assert all(p.name == key for key, p in student.parameters_and_names())
    assert report.params_after == sum(a.size for a in found.values())
    # copies, not aliases: the parent does not move with the student
    for p in student.get_parameters():
        p.set_data(Tensor(np.zeros(p.shape, np.float32), p.dtype))
    for key, value in arrays(network).items():
        np.testing.assert_array_equal(value, before[key])


@pytest.mark.gate
def test_it_computes_what_the_chosen_blocks_do() -> None:
    network, _, ids = network_of("gpt2")
    student, plan, _ = truncate_layers(network, None, [0, 1, 3])
    expected = _Chosen(network, plan.kept)(ids, causal_mask(8)).asnumpy()
    np.testing.assert_allclose(student(ids).asnumpy(), expected, atol=LAYER)


@pytest.mark.gate
@pytest.mark.parametrize("kind", ["gpt2", pytest.param("llama", marks=pytest.mark.slow)])
def test_keeping_all_reproduces_the_teacher_exactly(kind) -> None:
    network, _, x = network_of(kind)
    same, _, _ = truncate_layers(network, 4, "top")
    np.testing.assert_array_equal(same(x).asnumpy(), network(x).asnumpy())


def test_a_plan_rebuilds_it_in_another_network() -> None:
    network = network_of("gpt2")[0]
    method = Truncation(TruncationSettings(keep=2, rule="random"), seed=5)
    student = method.change_model(network, ModelContext((1, 8), trained=True))
    assert method.report["rule"] == "random"
    again = Truncation.rebuild(models.build("gpt2", **GPT2, seed=9), method.plan)
    checkpoint.assign(again, arrays(student), "the student")  # names and shapes one to one
    assert len(again.blocks) == 2
    with pytest.raises(PlanError, match=r"has 2 blocks, the plan is of 4; was it truncated"):
        rebuild(student, method.plan)


def test_a_truncated_gpt2_is_a_shallower_gpt2_to_others(tmp_path) -> None:
    network = network_of("gpt2")[0]
    student, _, _ = truncate_layers(network, 2, "uniform")
    again = load_parent(save_gpt2(student, tmp_path / "student"))
    assert again.shape.depth == student.shape.depth == 2
    assert network.shape.depth == 4
    for name, value in arrays(student).items():
        np.testing.assert_array_equal(arrays(again)[name], value)


@pytest.mark.gate
def test_gradients_flow_into_the_copies() -> None:
    student, _, _ = truncate_layers(network_of("gpt2")[0], 2)

    def forward(ids):
        return (student(ids) ** 2).sum()

    weights = student.trainable_params()
    grads = ms.grad(forward, None, weights)(Tensor(IDS))
    moved = {w.name for w, g in zip(weights, grads, strict=True) if np.abs(g.asnumpy()).max() > 0}
    assert {name for name in moved if name.startswith("blocks.1.attn.proj")}


def test_networks_without_like_blocks_are_refused() -> None:
    with pytest.raises(PlanError, match="Dense has no list of like blocks"):
        truncate_layers(nn.Dense(2, 2), 1)
    with pytest.raises(PlanError, match=r"no list 'block' of like blocks \(did you mean 'blocks'"):
        truncate_layers(network_of("gpt2")[0], 2, blocks="block")
    vit = network_of("vit")[0]
    routed, _ = apply_skipvit(vit, SkipViTSettings(score_block=0, merge_block=2))
    with pytest.raises(PlanError, match="name truncation before"):
        truncate_layers(routed, 2)
    uneven, _, _ = apply_lowrank(vit, ratio=1.5, include=("blocks.1.*",))
    with pytest.raises(PlanError, match="name truncation before"):
        truncate_layers(uneven, 2)
