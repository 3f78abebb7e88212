"""Low-rank surgery on a network: find the layers, make or take a plan, put the factors in."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import mindspore as ms
from mindspore import nn

from ms_eff.errors import ConfigError, PlanError, nearest
from ms_eff.methods.lowrank.cells import LowRankCell
from ms_eff.methods.lowrank.costs import macs_of, weights_of
from ms_eff.methods.lowrank.factors import empty_like, factorize, fill
from ms_eff.methods.lowrank.layers import Layer, find_layers, layer_positions, network_params
from ms_eff.methods.lowrank.plan import LowRankPlan
from ms_eff.methods.lowrank.planner import NetworkSize, Planned, make_plan
from ms_eff.methods.lowrank.rank_search import RankChoice
from ms_eff.methods.lowrank.search import refine
from ms_eff.methods.lowrank.settings import LowRankSettings, make_settings

__all__ = ["LayerReport", "apply_lowrank", "rebuild"]

Shape = tuple[int, ...]


@dataclass(frozen=True)
class LayerReport:
    """What became of one layer.

    Attributes:
        layer: its name.
        kind: `dense`, `conv1x1`, `conv`, `embedding`, or the cell's class if none of these.
        shape: of its weight.
        rank: (R,) or (r1, r2); None if it stays as it is.
        params_before: weights of the layer; biases are not counted, they stay.
        params_after: weights of its factors.
        macs_before: multiply-accumulates for one sample; None if the input's shape is not known.
        macs_after: those of its factors. Where a strided convolution's input cannot be told from
            its output, the largest is taken.
        error: relative Frobenius error of the composed factors; 0 if it stays.
        decomposed: whether factors stand in for it.
        reason: why it stays; empty if it does not.
        search: what the rank search saw (`RankChoice`); None without one.
    """

    layer: str
    kind: str
    shape: Shape
    rank: Shape | None
    params_before: int
    params_after: int
    macs_before: int | None
    macs_after: int | None
    error: float
    decomposed: bool
    reason: str
    search: dict[str, Any] | None = None

    def to_json(self) -> dict[str, Any]:
        """Return JSON-able values."""
        return asdict(self)


def apply_lowrank(
    network: nn.Cell,
    plan: LowRankPlan | LowRankSettings | Mapping[str, Any] | str | Path | None = None,
    *,
    input_shape: Sequence[int] | None = None,
    input_dtype: Any = ms.float32,
    **settings: Any,
) -> tuple[nn.Cell, LowRankPlan, list[LayerReport]]:
    """Return a copy of a network with low-rank factors in its layers' place (arXiv:2407.20266).

    Dense layers, convolutions and embeddings anywhere in the network, MindFormers' `Linear` too;
    the given network stays as it is.

    Args:
        network: any cell; it may itself be the layer.
        plan: a plan, the JSON of one or its file; or settings, as an object or a mapping. Or None
            and settings by keyword, as in `apply_lowrank(network, ratio=2.0)`.
        input_shape: of the network's input, batch axis first; `macs` budgets and `rank_search`
            need it, and the report has no MACs without it.
        input_dtype: of that input; an integer type for token ids.
        **settings: see `LowRankSettings`.

    Returns:
        The new network, the plan that was carried out, and one report a layer, skipped ones with
        the reason.

    Raises:
        ConfigError: a setting is unknown or out of range.
        PlanError: the plan or the settings do not fit the network.

    >>> network = nn.SequentialCell(nn.Dense(64, 32), nn.ReLU(), nn.Dense(32, 10))
    >>> compressed, plan, report = apply_lowrank(network, ratio=2.0)
    >>> [(row.layer, row.rank) for row in report]
    [('0', (10,)), ('2', (3,))]
    """
    layers = find_layers(network)
    wanted = _wanted(plan, settings)
    size = NetworkSize(network_params(network))
    if input_shape is not None:
        positions, macs = layer_positions(network, layers, tuple(input_shape), input_dtype)
        size = NetworkSize(size.params, macs, positions)
    searched: Mapping[str, RankChoice] = {}
    if isinstance(wanted, LowRankPlan):
        _check(wanted, layers)
        planned = Planned(wanted, {})
    else:
        planned = make_plan(layers, wanted, size)
        if wanted.rank_search is not None:
            planned, searched = refine(network, layers, planned, wanted, input_shape, input_dtype)
    ranks = {entry.name: entry.rank for entry in planned.plan.layers}
    cells: dict[str, LowRankCell] = {}
    report = []
    for layer in layers:
        error = 0.0
        if layer.name in ranks:
            cells[layer.name] = empty_like(layer, ranks[layer.name])
            weights, error = factorize(layer, ranks[layer.name])
            fill(cells[layer.name], weights)
        reason = planned.skipped.get(layer.name, layer.reason or "not in the plan")
        row = _report(layer, ranks.get(layer.name), error, reason, size)
        if layer.name in searched:
            row = replace(row, search=searched[layer.name].to_json())
        report.append(row)
    return _replaced(network, layers, cells), planned.plan, report


def rebuild(network: nn.Cell, plan: LowRankPlan | Mapping[str, Any]) -> nn.Cell:
    """Return a copy of a network with the shapes of a plan; the factors are zeros until loaded.

    Nothing is decomposed, so this is fast. Parameter names are those of `apply_lowrank`.

    Args:
        network: built as the one that the plan was made for.
        plan: a plan or its JSON.

    Raises:
        PlanError: the plan does not fit the network.
    """
    plan = plan if isinstance(plan, LowRankPlan) else LowRankPlan.from_json(plan)
    layers = find_layers(network)
    _check(plan, layers)
    ranks = {entry.name: entry.rank for entry in plan.layers}
    cells = {
        layer.name: empty_like(layer, ranks[layer.name]) for layer in layers if layer.name in ranks
    }
    return _replaced(network, layers, cells)


def _wanted(plan: Any, settings: Mapping[str, Any]) -> LowRankPlan | LowRankSettings:
    if plan is not None and settings:
        raise ConfigError(
            f"apply_lowrank: a plan and {', '.join(settings)} were given; give one or the other"
        )
    if isinstance(plan, (str, Path)):
        return LowRankPlan.load(plan)
    if isinstance(plan, Mapping) and "format" in plan:
        return LowRankPlan.from_json(plan)
    if isinstance(plan, LowRankPlan):
        return plan
    chosen = plan if isinstance(plan, LowRankSettings) else make_settings(plan or settings)
    return LowRankPlan.load(chosen.plan) if chosen.plan is not None else chosen


def _check(plan: LowRankPlan, layers: Sequence[Layer]) -> None:
    """Refuse a plan that does not fit the network in any layer."""
    known = {layer.name: layer for layer in layers}
    for entry in plan.layers:
        layer = known.get(entry.name)
        if layer is None:
            raise PlanError(
                f"plan: the network has no layer '{entry.name}'{nearest(entry.name, known)}"
            )
        if layer.reason:
            raise PlanError(f"plan: layer '{entry.name}' cannot be decomposed: {layer.reason}")
        if (layer.kind, layer.shape) != (entry.kind, entry.shape):
            raise PlanError(
                f"plan: layer '{entry.name}' is a {entry.kind} of {entry.shape} there, but a "
                f"{layer.kind} of {layer.shape} here; use the network the plan was made for"
            )


def _replaced(
    network: nn.Cell, layers: Sequence[Layer], cells: Mapping[str, LowRankCell]
) -> nn.Cell:
    """Return a copy of the network in which those cells stand for those layers.

    A deep copy that is told beforehand what each replaced layer was copied to: every reference to
    the layer, in attributes, lists and containers, becomes one to its factors, and the weights
    that go are never copied.
    """
    memo: dict[int, Any] = {
        id(layer.cell): cells[layer.name] for layer in layers if layer.name in cells
    }
    copied = copy.deepcopy(network, memo)
    before = {parameter.name: parameter for parameter in network.get_parameters()}
    for parameter in copied.get_parameters():
        if parameter.name in before:  # what a parameter's own copy forgets
            old = before[parameter.name]
            parameter.parallel_optimizer = old.parallel_optimizer
            parameter.layerwise_parallel = old.layerwise_parallel
    return copied


def _report(
    layer: Layer, rank: Shape | None, error: float, reason: str, size: NetworkSize
) -> LayerReport:
    before, macs = weights_of(layer.kind, layer.shape), None
    after, macs_after = before, None
    if rank is not None:
        after = weights_of(layer.kind, layer.shape, rank)
    if layer.name in size.positions:
        positions = size.positions[layer.name]
        macs = macs_after = macs_of(layer.kind, layer.shape, positions)
        if rank is not None:
            macs_after = macs_of(layer.kind, layer.shape, positions, rank)
    return LayerReport(
        layer=layer.name,
        kind=layer.kind,
        shape=layer.shape,
        rank=rank,
        params_before=before,
        params_after=after,
        macs_before=macs,
        macs_after=macs_after,
        error=error,
        decomposed=rank is not None,
        reason="" if rank is not None else reason,
    )
