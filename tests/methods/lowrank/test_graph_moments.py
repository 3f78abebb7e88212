"""Moments that a graph hands out, against those that pynative mode reads."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mindspore import Tensor, nn

from ms_eff.errors import PlanError, SetupError
from ms_eff.methods.lowrank.block_states import BlockStates
from ms_eff.methods.lowrank.calibrate import collect_moments
from ms_eff.methods.lowrank.graph_moments import Stack, collect_by_block
from ms_eff.methods.lowrank.layers import find_layers
from ms_eff.methods.progressive.stacks import embedded, stack_of
from ms_eff.models.parents import load_parent, open_parent
from tests.models.gpt2s import save_hf_gpt2
from tests.models.llamas import save_hf, some_ids


@pytest.mark.gate
@pytest.mark.parametrize("save", [save_hf, save_hf_gpt2], ids=["llama", "gpt2"])
def test_they_equal_those_of_pynative_mode(save: Callable[[Path], object], tmp_path: Path) -> None:
    save(tmp_path)
    parent, ids = open_parent(tmp_path), some_ids(3, 11)
    network = load_parent(parent)
    layers = [layer for layer in find_layers(network) if layer.kind == "dense"]
    expected = collect_moments(network, layers, [(ids[:, :-1], ids[:, 1:])])
    hidden = embedded(parent, ids[:, :-1])
    scratch, found, passes = tmp_path / "scratch", {}, []
    stack = stack_of(parent, 10)
    labels = np.ascontiguousarray(ids[:, 1:])
    for i, moments in collect_by_block(stack, hidden, labels, scratch, passes.append):
        found |= {
            name.replace("block", f"{parent.shape.blocks}.{i}"): m for name, m in moments.items()
        }
    assert (passes, list(tmp_path.glob("scratch*"))) == ([1, 2, 3, 4], [])
    assert set(found) == {layer.name for layer in layers}
    for name, moments in expected.items():
        for ours, theirs in (
            (found[name].inputs, moments.inputs),
            (found[name].gradients, moments.gradients),
        ):
            np.testing.assert_allclose(ours, theirs, atol=1e-5 * np.abs(theirs).max())
    if parent.shape.model == "gpt2":  # whose q, k and v are one
        return
    block = "model.layers.0.self_attn"
    assert found[f"{block}.q_proj"].inputs is found[f"{block}.v_proj"].inputs
    assert found[f"{block}.q_proj"].inputs is not found[f"{block}.o_proj"].inputs


class Stop(Exception):  # noqa: N818
    """What a signal does between two passes."""


class Doubled(nn.Cell):
    """The sum of half the squares, whose gradient is its input."""

    def construct(self, x: Tensor, labels: Tensor) -> Tensor:
        return (x * x).sum() / 2


@pytest.mark.gate
def test_stopped_between_any_two_passes_it_goes_on_to_the_same(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    weights = [rng.standard_normal((2, 4, 4)).astype(np.float32) for _ in range(3)]
    hidden = rng.standard_normal((3, 2, 4)).astype(np.float32)

    def call(scratch: Path, found: dict[int, Any], told: Callable[[int], None]) -> None:
        block = nn.SequentialCell(*(nn.Dense(4, 4, has_bias=False) for _ in range(2)))
        stack = Stack(
            3, block, lambda i: {f"{k}.weight": W for k, W in enumerate(weights[i])}, Doubled()
        )
        for i, moments in collect_by_block(stack, hidden, np.zeros((3, 2)), scratch, told):
            assert i not in found  # what was kept is not asked for again
            found[i] = moments

    whole: dict[int, Any] = {}
    call(tmp_path / "whole", whole, lambda done: None)
    # the network is linear: inputs and gradients by NumPy
    product = [W[1] @ W[0] for W in weights]
    x, inputs = hidden.reshape(-1, 4), []
    for P in product:
        inputs.append(x)
        x = x @ P.T
    g = x
    for i in (2, 1, 0):
        G, F = inputs[i].T @ inputs[i] / 3, g.T @ g / 6
        np.testing.assert_allclose(whole[i]["0"].inputs, G, rtol=1e-4, atol=1e-4 * abs(G).max())
        np.testing.assert_allclose(whole[i]["1"].gradients, F, rtol=1e-4, atol=1e-4 * abs(F).max())
        g = g @ product[i]

    passes: list[int] = []

    def stopping(done: int) -> None:
        passes.append(done)
        raise Stop

    found: dict[int, Any] = {}
    for _ in range(6):
        with pytest.raises(Stop):
            call(tmp_path / "cut", found, stopping)
    call(tmp_path / "cut", found, stopping)  # nothing is left to do
    assert passes == [1, 2, 3, 4, 5, 6]
    assert list(found) == list(whole) == [2, 1, 0]
    for i, layers in whole.items():
        for name, moments in layers.items():
            np.testing.assert_array_equal(found[i][name].inputs, moments.inputs)
            np.testing.assert_array_equal(found[i][name].gradients, moments.gradients)
    assert list(tmp_path.iterdir()) == []


def test_an_activation_inside_a_layer_is_refused(tmp_path: Path) -> None:
    block = nn.SequentialCell(nn.Dense(4, 4, activation="relu"))
    stack = Stack(1, block, lambda i: {}, nn.Cell())
    with pytest.raises(PlanError, match="layer '0': its gradient lies behind its activation"):
        next(collect_by_block(stack, np.zeros((1, 2, 4)), np.zeros((1, 2)), tmp_path / "s"))


def test_a_disk_without_room_is_told_before_anything_is_mapped(small_disk, tmp_path: Path) -> None:
    hidden = np.zeros((4, 8, 16), np.float32)
    with (
        small_disk(4000),
        pytest.raises(SetupError, match=r"no room for 0\.0 GB that go from block"),
    ):
        BlockStates(tmp_path / "states", hidden, depth=2)
    assert not (tmp_path / "states").exists()


@pytest.mark.parametrize("shorter", [False, True])
def test_a_call_killed_before_its_first_pass_leaves_no_states_of_others(
    tmp_path: Path, shorter: bool
) -> None:
    path, hidden = tmp_path / "states", np.ones((2, 3, 4), np.float32)
    BlockStates(path, hidden, depth=2).passed(2)
    if shorter:
        path.write_bytes(b"")
    BlockStates(path, hidden + 1, depth=2)  # what it wrote is there, and no pass of it
    assert BlockStates(path, hidden + 1, depth=2).done == 0
