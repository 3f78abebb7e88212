"""Layer targeting on a network (after arXiv:2309.12412): decompose what makes the whole faster."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from statistics import median
from typing import Any

import mindspore as ms
from mindspore import nn

from ms_eff.bench.latency import compare_models
from ms_eff.bench.layers import layer_work
from ms_eff.errors import ConfigError
from ms_eff.methods.lowrank.cost_model import LayerWork, Objective
from ms_eff.methods.lowrank.layers import find_layers
from ms_eff.methods.lowrank.plan import LowRankPlan
from ms_eff.methods.lowrank.rank_search import RankChoice
from ms_eff.methods.lowrank.search import LayerTimer, layer_timer, search_ranks
from ms_eff.methods.lowrank.settings import LowRankSettings, RankSearch, make_settings
from ms_eff.methods.lowrank.surgery import apply_lowrank
from ms_eff.methods.lowrank.targeting import Group, Targeted, target

__all__ = ["select_layers"]

# networks, the original first -> one time each, in milliseconds
WholeTimer = Callable[[Sequence[nn.Cell]], Sequence[float]]


def select_layers(
    network: nn.Cell,
    settings: LowRankSettings | Mapping[str, Any] | None = None,
    *,
    input_shape: Sequence[int],
    input_dtype: Any = ms.float32,
    threshold: float = 0.05,
    tolerance: float = 0.02,
    timer: LayerTimer | None = None,
    whole_timer: WholeTimer | None = None,
    **more: Any,
) -> tuple[nn.Cell, LowRankPlan, Targeted]:
    """Decompose only those layers that make the whole network faster (after arXiv:2309.12412).

    Ranks come from a rank search, single layers are timed first, then the whole network is; the
    procedure is ours. With a profile or the model as timer, the whole is still timed here.

    Args:
        network: any cell; it stays as it is.
        settings: see `LowRankSettings`; `rank_search.objective` says what has to be fast.
        input_shape: of the network's input, batch axis first.
        input_dtype: of that input.
        threshold: least gain of a layer, as a share of its own time.
        tolerance: what counts as noise of the whole, as a share.
        timer: of layers, in place of the one that `rank_search.timer` names.
        whole_timer: of networks, in place of the wall clock; gets the original and a candidate.
        **more: settings by keyword.

    Returns:
        The new network, or the very object that was given if nothing helps; the plan; the reasons.

    Raises:
        ConfigError: a setting is unknown or out of range.
        PlanError: the settings do not fit the network.
    """
    if settings is not None and more:
        raise ConfigError(f"select_layers: settings and {', '.join(more)} were given; give one")
    given = settings if isinstance(settings, LowRankSettings) else make_settings(settings or more)
    search = given.rank_search or RankSearch()
    plan, found = search_ranks(
        network,
        given,
        input_shape=input_shape,
        input_dtype=input_dtype,
        timer=timer or layer_timer(search, input_shape),
    )
    works = layer_work(network, find_layers(network), input_shape, input_dtype)
    whole_times = whole_timer or _wall(input_shape, input_dtype, search)
    dense_ms: list[float] = []

    def whole_ms(groups: Sequence[Group]) -> float:
        if not groups:
            dense_ms.append(whole_times([network])[0])
            return dense_ms[0]
        candidate, _, _ = apply_lowrank(network, _only(plan, groups))
        original, taken = whole_times([network, candidate])
        return taken / original * dense_ms[0]  # paired, so that drift of the machine cancels

    result = target(_groups(plan, found, works), whole_ms, threshold=threshold, tolerance=tolerance)
    if not result.kept:
        return network, LowRankPlan((), plan.settings), result
    selected = _only(plan, result.kept)
    return apply_lowrank(network, selected)[0], selected, result


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


def _wall(input_shape: Sequence[int], input_dtype: Any, search: RankSearch) -> WholeTimer:
    kinds: dict[Objective, Any] = {"infer": "forward", "train": "train_step"}

    def timed(networks: Sequence[nn.Cell]) -> list[float]:
        models = {str(index): model for index, model in enumerate(networks)}
        samples = compare_models(
            models,
            input_shape,
            kinds[search.objective],
            search.warmup,
            search.runs,
            input_dtype,
        ).samples
        return [median(samples[name]) for name in models]

    return timed
