"""Rank search on a network: each distinct layer timed once, then Algorithm 1 (2407.20266)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import mindspore as ms
from mindspore import nn

from ms_eff.bench.layers import layer_work
from ms_eff.errors import ConfigError
from ms_eff.methods.lowrank.calibrate import Batch, Loss, criterion_of
from ms_eff.methods.lowrank.core import align_rank
from ms_eff.methods.lowrank.cost_model import LayerWork
from ms_eff.methods.lowrank.costs import weights_of
from ms_eff.methods.lowrank.criteria import Criterion
from ms_eff.methods.lowrank.latency import by_latency
from ms_eff.methods.lowrank.layer_timers import LayerTimer, ModelledLayers, layer_timer
from ms_eff.methods.lowrank.layers import Layer, find_layers, layer_positions, network_params
from ms_eff.methods.lowrank.plan import LowRankPlan
from ms_eff.methods.lowrank.planner import NetworkSize, Planned, make_plan
from ms_eff.methods.lowrank.rank_search import RankChoice, probed_ranks, rank_floor, search_rank
from ms_eff.methods.lowrank.settings import LowRankSettings, RankSearch, make_settings, with_search

__all__ = ["refine", "search_ranks"]

Shape = tuple[int, ...]


def search_ranks(
    network: nn.Cell,
    settings: LowRankSettings | Mapping[str, Any] | None = None,
    *,
    input_shape: Sequence[int],
    input_dtype: Any = ms.float32,
    timer: LayerTimer | None = None,
    calibration: Iterable[Batch] | None = None,
    loss: Loss | None = None,
    by: Criterion | None = None,
    **more: Any,
) -> tuple[LowRankPlan, dict[str, RankChoice]]:
    """Find each layer's rank by latency, or leave it whole (arXiv:2407.20266, Algorithm 1).

    Args:
        network: any cell; it stays as it is.
        settings: see `LowRankSettings`; its ratio or budget gives the start ranks. What is left
            whole is not made up for elsewhere, so that a budget may be exceeded.
        input_shape: of the network's input, batch axis first.
        input_dtype: of that input.
        timer: in place of the one that `rank_search.timer` names.
        calibration: data for the criteria `activation` and `two_sided`; see `apply_lowrank`.
        loss: likewise.
        by: the criterion with what it knows, if that was found before.
        **more: settings by keyword, as in `search_ranks(network, ratio=2.0, input_shape=...)`.

    Returns:
        The plan, to give to `apply_lowrank`, and what was decided for each searched layer.

    Raises:
        ConfigError: a setting is unknown or out of range.
        PlanError: the settings do not fit the network, or the profile lacks a layer.

    >>> plan, found = search_ranks(
    ...     nn.SequentialCell(nn.Dense(2048, 1000)), ratio=2.0, divisor=16,
    ...     rank_search={"timer": "model", "device": "ascend310"}, input_shape=(256, 2048),
    ... )
    >>> plan.layers[0].rank
    (304,)
    """
    given = settings if isinstance(settings, LowRankSettings) else make_settings(settings or more)
    if settings is not None and more:
        raise ConfigError(f"search_ranks: settings and {', '.join(more)} were given; give one")
    if given.source == "plan":
        raise ConfigError("search_ranks: plan: its ranks are final; give a ratio or a budget")
    if given.rank_search is None:
        given = with_search(given, RankSearch())
    layers = find_layers(network)
    size = NetworkSize(network_params(network))
    if given.source == "macs":
        positions, macs = layer_positions(network, layers, tuple(input_shape), input_dtype)
        size = replace(size, macs=macs, positions=positions)
    by = by or criterion_of(network, layers, given, calibration, loss)
    if given.source == "latency":
        planned, found = by_latency(
            network,
            layers,
            given,
            partial(make_plan, layers, by=by),
            size,
            input_shape,
            input_dtype,
            timer,
        )
        return planned.plan, found
    planned = make_plan(layers, given, size, by=by)
    planned, found = refine(network, layers, planned, given, input_shape, input_dtype, timer)
    return planned.plan, found


def refine(
    network: nn.Cell,
    layers: Sequence[Layer],
    planned: Planned,
    settings: LowRankSettings,
    input_shape: Sequence[int] | None,
    input_dtype: Any,
    timer: LayerTimer | None = None,
) -> tuple[Planned, dict[str, RankChoice]]:
    """Take a plan's ranks as starts and return the plan of the searched ones, with the reasons."""
    search = settings.rank_search or RankSearch()
    if input_shape is None:
        raise ConfigError("lowrank.rank_search: needs the network's input; pass input_shape")
    timer = timer or layer_timer(search, input_shape)
    works = layer_work(network, layers, input_shape, input_dtype)
    cells = {layer.name: layer for layer in layers}
    skipped, entries, found = dict(planned.skipped), [], {}
    cache: dict[tuple[LayerWork, int], RankChoice] = {}
    for entry in planned.plan.layers:
        start = _start(entry.kind, entry.shape, entry.rank, settings.divisor)
        if entry.name not in works or start < 1:
            skipped[entry.name] = "no rank to search" if start < 1 else "the forward never calls it"
            continue
        work, _ = works[entry.name]
        if (work, start) not in cache:
            cache[work, start] = _search(cells[entry.name], work, start, settings, search, timer)
        choice = found[entry.name] = cache[work, start]
        if choice.rank is None:
            skipped[entry.name] = choice.why
        else:
            entries.append(replace(entry, rank=(choice.rank,) * len(entry.rank)))
    return Planned(LowRankPlan(tuple(entries), planned.plan.settings), skipped), found


def _search(
    layer: Layer,
    work: LayerWork,
    start: int,
    settings: LowRankSettings,
    search: RankSearch,
    timer: LayerTimer,
) -> RankChoice:
    floor = rank_floor(start, search.floor)
    step = search.step(settings.divisor)
    dense, times = timer.times(layer, work, probed_ranks(start, floor, step), search.objective)
    noise = 0.0 if isinstance(timer, ModelledLayers) else search.noise
    return search_rank(times.__getitem__, dense, start, floor=floor, step=step, noise=noise)


def _start(kind: str, shape: Shape, rank: Shape, divisor: int) -> int:
    """Return one rank for all modes: the largest whose factors have no more weights."""
    equal = min(rank)
    most = weights_of(kind, shape, rank)
    while equal < min(shape[:2]) and weights_of(kind, shape, (equal + 1,) * len(rank)) <= most:
        equal += 1
    return align_rank(equal, divisor)
