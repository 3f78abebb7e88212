"""Moments that a graph hands out, against those that pynative mode reads."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from mindspore import nn

from ms_eff.errors import PlanError
from ms_eff.methods.lowrank.calibrate import collect_moments
from ms_eff.methods.lowrank.graph_moments import Stack, collect_by_block
from ms_eff.methods.lowrank.layers import find_layers
from ms_eff.methods.progressive.calibration import llama_stack
from ms_eff.models.parents import load_llama, open_parent
from tests.models.llamas import save_hf, some_ids


def test_they_equal_those_of_pynative_mode(tmp_path: Path) -> None:
    save_hf(tmp_path)
    parent, ids = open_parent(tmp_path), some_ids(3, 11)
    network = load_llama(parent)
    layers = [layer for layer in find_layers(network) if layer.kind == "dense"]
    expected = collect_moments(network, layers, [(ids[:, :-1], ids[:, 1:])])
    hidden = parent.array("model.embed_tokens.weight")[ids[:, :-1]]
    scratch, found, passes = tmp_path / "scratch", {}, []
    stack = llama_stack(parent, 10)
    labels = np.ascontiguousarray(ids[:, 1:])
    for i, moments in collect_by_block(stack, hidden, labels, scratch, lambda: passes.append(1)):
        found |= {name.replace("block", f"model.layers.{i}"): m for name, m in moments.items()}
    assert (len(passes), scratch.exists()) == (4, False)
    assert set(found) == {layer.name for layer in layers}
    for name, moments in expected.items():
        for ours, theirs in (
            (found[name].inputs, moments.inputs),
            (found[name].gradients, moments.gradients),
        ):
            np.testing.assert_allclose(ours, theirs, atol=1e-5 * np.abs(theirs).max())
    block = "model.layers.0.self_attn"
    assert found[f"{block}.q_proj"].inputs is found[f"{block}.v_proj"].inputs
    assert found[f"{block}.q_proj"].inputs is not found[f"{block}.o_proj"].inputs


def test_an_activation_inside_a_layer_is_refused(tmp_path: Path) -> None:
    block = nn.SequentialCell(nn.Dense(4, 4, activation="relu"))
    stack = Stack(1, block, lambda i: {}, nn.Cell())
    with pytest.raises(PlanError, match="layer '0': its gradient lies behind its activation"):
        next(collect_by_block(stack, np.zeros((1, 2, 4)), np.zeros((1, 2)), tmp_path / "s"))
