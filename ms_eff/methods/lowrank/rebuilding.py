"""A network in the shapes of a plan: rebuilt for saved weights, or as a stand-in to be timed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from mindspore import Tensor, nn

from ms_eff.errors import PlanError, nearest
from ms_eff.methods.lowrank.cells import LowRankCell
from ms_eff.methods.lowrank.criteria import WEIGHT, Criterion
from ms_eff.methods.lowrank.factors import empty_like
from ms_eff.methods.lowrank.layers import Layer, find_layers
from ms_eff.methods.lowrank.merging import rebuild_merged
from ms_eff.methods.lowrank.plan import LowRankPlan
from ms_eff.methods.replace import replaced

__all__ = ["check_plan", "rebuild", "stand_in", "swapped"]


def rebuild(network: nn.Cell, plan: LowRankPlan | Mapping[str, Any]) -> nn.Cell:
    """Return a copy of a network with the shapes of a plan; what is new is zeros until loaded.

    Nothing is decomposed, so this is fast. Parameter names are those of `apply_lowrank`.

    Args:
        network: built as the one that the plan was made for.
        plan: a plan or its JSON.

    Raises:
        PlanError: the plan does not fit the network.
    """
    plan = plan if isinstance(plan, LowRankPlan) else LowRankPlan.from_json(plan)
    if plan.merges:
        return rebuild_merged(network, plan)
    layers = find_layers(network)
    check_plan(plan, layers)
    found = {layer.name: layer for layer in layers}
    cells = {
        entry.name: empty_like(found[entry.name], entry.rank, entry.branches)
        for entry in plan.layers
    }
    return swapped(network, layers, cells)


def stand_in(network: nn.Cell, plan: LowRankPlan | Mapping[str, Any], seed: int = 0) -> nn.Cell:
    """Return what `rebuild` does with small random numbers in place of the zeros, to be timed.

    Nothing is decomposed: a network's speed depends on its shapes alone, except that zeros may be
    faster than numbers.
    """
    result = rebuild(network, plan)
    rng = np.random.default_rng(seed)
    for parameter in result.get_parameters():
        values = parameter.asnumpy()
        if values.ndim > 1 and not values.any():
            new = rng.standard_normal(values.shape, dtype=np.float32) * 0.05
            parameter.set_data(Tensor(new, parameter.dtype))
    return result


def check_plan(plan: LowRankPlan, layers: Sequence[Layer], by: Criterion = WEIGHT) -> None:
    """Refuse a plan that does not fit the network in any layer; raises PlanError.

    `by` is what the layers are to be decomposed by; to rebuild shapes takes none.
    """
    if plan.merges:
        raise PlanError("plan: it merges bottlenecks; give it to ms_eff.merge_bottlenecks")
    known = {layer.name: layer for layer in layers}
    for entry in plan.layers:
        layer = known.get(entry.name)
        if layer is None:
            raise PlanError(
                f"plan: the network has no layer '{entry.name}'{nearest(entry.name, known)}"
            )
        reason = layer.reason or by.unknown(layer)
        if reason:
            raise PlanError(f"plan: layer '{entry.name}' cannot be decomposed: {reason}")
        if (layer.kind, layer.shape) != (entry.kind, entry.shape):
            raise PlanError(
                f"plan: layer '{entry.name}' is a {entry.kind} of {entry.shape} there, but a "
                f"{layer.kind} of {layer.shape} here; use the network the plan was made for"
            )


def swapped(network: nn.Cell, layers: Sequence[Layer], cells: Mapping[str, LowRankCell]) -> nn.Cell:
    """Return a copy of the network in which cells, by layer name, stand for its layers."""
    swaps = [(layer.cell, cells[layer.name]) for layer in layers if layer.name in cells]
    return replaced(network, swaps)
