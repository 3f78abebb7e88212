"""Which layers to decompose, on a network (after arXiv:2309.12412): the plan behind targeting."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from mindspore import nn

from ms_eff.bench.layers import layer_work
from ms_eff.bench.whole import WholeTimer, wall_timer
from ms_eff.methods.lowrank.cost_model import LayerWork
from ms_eff.methods.lowrank.criteria import Criterion
from ms_eff.methods.lowrank.layer_timers import LayerTimer
from ms_eff.methods.lowrank.layers import find_layers
from ms_eff.methods.lowrank.plan import LowRankPlan
from ms_eff.methods.lowrank.rank_search import RankChoice
from ms_eff.methods.lowrank.rebuilding import stand_in
from ms_eff.methods.lowrank.search import search_ranks
from ms_eff.methods.lowrank.settings import LowRankSettings, RankSearch, Targeting
from ms_eff.methods.lowrank.targeting import Group, Targeted, target

__all__ = ["targeted_plan"]


def targeted_plan(
    network: nn.Cell,
    settings: LowRankSettings,
    input_shape: Sequence[int],
    input_dtype: Any,
    timer: LayerTimer | None = None,
    whole_timer: WholeTimer | None = None,
    by: Criterion | None = None,
) -> tuple[LowRankPlan, dict[str, RankChoice], Targeted]:
    """Return the plan of `select_layers`, what was decided for each layer, and the reasons."""
    search = settings.rank_search or RankSearch()
    wishes = settings.target or Targeting()
    plan, found = search_ranks(
        network, settings, input_shape=input_shape, input_dtype=input_dtype, timer=timer, by=by
    )
    works = layer_work(network, find_layers(network), input_shape, input_dtype)
    whole_times = whole_timer or wall_timer(
        input_shape, input_dtype, search.objective, search.warmup, search.runs
    )
    dense_ms: list[float] = []

    def whole_ms(groups: Sequence[Group]) -> float:
        if not groups:
            dense_ms.append(whole_times([network])[0])
            return dense_ms[0]
        original, taken = whole_times([network, stand_in(network, _only(plan, groups))])
        return taken / original * dense_ms[0]  # paired, so that drift of the machine cancels

    groups = _groups(plan, found, works)
    result = target(
        groups,
        whole_ms,
        threshold=wishes.threshold,
        tolerance=wishes.tolerance,
        most=int(wishes.share * len(found)) if wishes.share < 1 else None,
    )
    for group, reason in result.dropped:
        for name in group.layers:
            found[name] = replace(found[name], rank=None, why=f"ORG: {reason}")
    return _only(plan, result.kept), found, result


def _groups(
    plan: LowRankPlan,
    found: Mapping[str, RankChoice],
    works: Mapping[str, tuple[LayerWork, int]],
) -> list[Group]:
    """Put layers of equal work and rank together, in the order of the network."""
    together: dict[tuple[LayerWork, int], list[str]] = {}
    for entry in plan.layers:
        together.setdefault((works[entry.name][0], entry.rank[0]), []).append(entry.name)
    groups = []
    for (_, rank), names in together.items():
        choice = found[names[0]]
        calls = sum(works[name][1] for name in names)
        taken = dict(choice.curve)[rank].median_ms
        groups.append(Group(tuple(names), choice.dense.median_ms, taken, calls))
    return groups


def _only(plan: LowRankPlan, groups: Sequence[Group]) -> LowRankPlan:
    names = {name for group in groups for name in group.layers}
    return LowRankPlan(tuple(e for e in plan.layers if e.name in names), plan.settings)
