"""Moments that a graph hands out, against those that pynative mode reads."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from mindspore import nn

from ms_eff.errors import PlanError
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
    for i, moments in collect_by_block(stack, hidden, labels, scratch, lambda: passes.append(1)):
        found |= {
            name.replace("block", f"{parent.shape.blocks}.{i}"): m for name, m in moments.items()
        }
    assert (len(passes), scratch.exists()) == (4, False)
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


def test_an_activation_inside_a_layer_is_refused(tmp_path: Path) -> None:
    block = nn.SequentialCell(nn.Dense(4, 4, activation="relu"))
    stack = Stack(1, block, lambda i: {}, nn.Cell())
    with pytest.raises(PlanError, match="layer '0': its gradient lies behind its activation"):
        next(collect_by_block(stack, np.zeros((1, 2, 4)), np.zeros((1, 2)), tmp_path / "s"))
