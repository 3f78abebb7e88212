"""Which layers to decompose, on a network (after arXiv:2309.12412): the plan behind targeting."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from mindspore import nn

from ms_eff.bench.layers import layer_work, network_dtype, network_work
from ms_eff.bench.whole import WholeTimer, wall_timer
from ms_eff.methods.lowrank.cost_model import LayerCalls
from ms_eff.methods.lowrank.criteria import WEIGHT, Criterion
from ms_eff.methods.lowrank.layer_timers import (
    LayerTimer,
    RecordedLayers,
    layer_timer,
    source_of,
)
from ms_eff.methods.lowrank.layers import find_layers
from ms_eff.methods.lowrank.plan import LowRankPlan
from ms_eff.methods.lowrank.planner import Planned
from ms_eff.methods.lowrank.rank_search import RankChoice
from ms_eff.methods.lowrank.rebuilding import stand_in
from ms_eff.methods.lowrank.search import searched
from ms_eff.methods.lowrank.settings import LowRankSettings, RankSearch, Targeting
from ms_eff.methods.lowrank.targeting import Group, Targeted, target
from ms_eff.methods.lowrank.whole_times import MEASURED_HERE, NetworkTimes

__all__ = ["targeted_plan"]


def targeted_plan(
    network: nn.Cell,
    settings: LowRankSettings,
    input_shape: Sequence[int],
    input_dtype: Any,
    timer: LayerTimer | None = None,
    whole_timer: WholeTimer | None = None,
    by: Criterion = WEIGHT,
) -> tuple[Planned, dict[str, RankChoice], Targeted]:
    """Return the plan of `select_layers`, what was decided for each layer, and the reasons.

    The whole network is timed only where the layers were: beside a profile of another device, or
    the model, this device's times say nothing.
    """
    search = settings.rank_search or RankSearch()
    wishes = settings.target or Targeting()
    layers = find_layers(network)
    if whole_timer is None and timer is None and search.on_this_device:
        whole_timer = wall_timer(
            input_shape, input_dtype, search.objective, search.warmup, search.runs
        )
    timer = timer or layer_timer(search, input_shape, network_dtype(layers))
    planned, found = searched(network, settings, input_shape, input_dtype, timer, by)
    works = layer_work(network, layers, input_shape, input_dtype)
    known = None
    if isinstance(timer, RecordedLayers):
        work = network_work(network, layers, input_shape)
        known = timer.profile.networks.get((search.objective, work))
    result = target(
        _groups(planned.plan, found, works),
        None if whole_timer is None else _whole_ms(network, planned.plan, whole_timer),
        threshold=wishes.threshold,
        tolerance=wishes.tolerance,
        most=int(wishes.share * len(found)) if wishes.share < 1 else None,
        dense_ms=known.median_ms if known else None,
    )
    for group, reason in result.dropped:
        for name in group.layers:
            found[name] = replace(found[name], rank=None, why=f"ORG: {reason}")
    source = source_of(timer) if whole_timer is None else MEASURED_HERE
    times = NetworkTimes(
        search.objective, source, result.dense_ms, result.predicted_ms, result.measured_ms
    )
    stay = {name: choice.why for name, choice in found.items() if choice.rank is None}
    plan = _only(planned.plan, result.kept)
    return Planned(plan, {**planned.skipped, **stay}, times), found, result


def _whole_ms(
    network: nn.Cell, plan: LowRankPlan, whole_timer: WholeTimer
) -> Callable[[Sequence[Group]], float]:
    dense_ms: list[float] = []

    def whole_ms(groups: Sequence[Group]) -> float:
        if not groups:
            dense_ms.append(whole_timer([network])[0])
            return dense_ms[0]
        original, taken = whole_timer([network, stand_in(network, _only(plan, groups))])
        return taken / original * dense_ms[0]  # paired, so that drift of the machine cancels

    return whole_ms


def _groups(
    plan: LowRankPlan, found: Mapping[str, RankChoice], works: Mapping[str, LayerCalls]
) -> list[Group]:
    """Put layers of equal work and rank together, in the order of the network."""
    together: dict[Any, list[str]] = {}
    for entry in plan.layers:
        together.setdefault((works[entry.name].mix, entry.rank[0]), []).append(entry.name)
    groups = []
    for (_, rank), names in together.items():
        choice = found[names[0]]
        calls = sum(works[name].calls for name in names)
        taken = dict(choice.curve)[rank].median_ms
        groups.append(Group(tuple(names), choice.dense.median_ms, taken, calls))
    return groups


def _only(plan: LowRankPlan, groups: Sequence[Group]) -> LowRankPlan:
    names = {name for group in groups for name in group.layers}
    return LowRankPlan(tuple(e for e in plan.layers if e.name in names), plan.settings)
