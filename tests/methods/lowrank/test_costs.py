"""The reference counts the weights and multiplications of real cells."""

from __future__ import annotations

import pytest
from mindspore import nn

from ms_eff.bench.counts import count, totals
from ms_eff.methods.lowrank.costs import macs_of, weights_of
from ms_eff.methods.lowrank.layers import find_layers, layer_positions
from ms_eff.methods.lowrank.plan import LayerPlan, LowRankPlan
from ms_eff.methods.lowrank.rebuilding import rebuild

CASES = [
    (nn.Dense(12, 10), (2, 12), (3,)),
    (nn.Dense(12, 10, has_bias=False), (2, 5, 12), (3,)),
    (nn.Conv2d(8, 6, 1, 2, pad_mode="valid"), (1, 8, 9, 8), (2,)),
    (nn.Conv2d(8, 6, 3, pad_mode="same"), (1, 8, 7, 5), (3, 2)),
    (nn.Conv2d(8, 6, 3, 2, pad_mode="pad", padding=1), (1, 8, 8, 6), (3, 2)),
    (nn.Conv2d(8, 6, (3, 5), (2, 1), pad_mode="valid"), (1, 8, 10, 9), (2, 4)),
    (nn.Conv2d(8, 6, 3, 1, pad_mode="pad", padding=(2, 1, 0, 2), dilation=2), (1, 8, 9, 9), (3, 3)),
    (nn.Conv2d(8, 6, 3, 2, pad_mode="same"), (1, 8, 8, 6), (3, 2)),
]


@pytest.mark.parametrize(("cell", "input_shape", "rank"), CASES)
def test_costs_are_those_of_the_cells(cell: nn.Cell, input_shape: tuple, rank: tuple) -> None:
    (layer,) = find_layers(cell)
    positions, macs = layer_positions(cell, [layer], input_shape)
    decomposed = rebuild(cell, LowRankPlan((LayerPlan("", layer.kind, layer.shape, rank),)))
    counted = totals(count(decomposed, input_shape))
    bias = layer.shape[0] if cell.has_bias else 0
    assert weights_of(layer.kind, layer.shape, rank) == counted["params"] - bias
    assert macs_of(layer.kind, layer.shape, positions[""], rank) == counted["macs"]
    assert macs_of(layer.kind, layer.shape, positions[""]) == macs


def test_an_input_that_the_output_does_not_tell_is_taken_at_its_largest() -> None:
    # stride 2 makes 4 of 7 and of 8
    cell = nn.Conv2d(8, 6, 3, 2, pad_mode="pad", padding=1)
    (layer,) = find_layers(cell)
    positions, _ = layer_positions(cell, [layer], (1, 8, 7, 7))
    assert positions[""].inner == 64
    assert positions[""].outer == 16
