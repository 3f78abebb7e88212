"""Rank search on a network: each distinct layer timed once, then Algorithm 1 (2407.20266)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import mindspore as ms
from mindspore import nn

from ms_eff.bench.layers import layer_work, network_dtype
from ms_eff.errors import ConfigError
from ms_eff.methods.lowrank.calibrate import Batch, Loss, criterion_of
from ms_eff.methods.lowrank.core import align_rank
from ms_eff.methods.lowrank.cost_model import LayerCalls
from ms_eff.methods.lowrank.costs import weights_of
from ms_eff.methods.lowrank.criteria import WEIGHT, Criterion
from ms_eff.methods.lowrank.latency import by_latency
from ms_eff.methods.lowrank.layer_timers import (
    LayerTimer,
    ModelledLayers,
    layer_timer,
    mean_call,
)
from ms_eff.methods.lowrank.layers import Layer, find_layers, layer_positions, network_params
from ms_eff.methods.lowrank.plan import LowRankPlan
from ms_eff.methods.lowrank.planner import NOT_CALLED, NetworkSize, Planned, make_plan
from ms_eff.methods.lowrank.rank_search import RankChoice, probed_ranks, rank_floor, search_rank
from ms_eff.methods.lowrank.settings import LowRankSettings, RankSearch, make_settings, with_search
from ms_eff.train.precision import in_precision

__all__ = ["search_ranks", "searched"]

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
    precision: str = "O0",
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
        precision: what is timed: `O0` the network as it is, `O2` or `O3` in mixed precision, as
            `train.precision` says.
        **more: settings by keyword, as in `search_ranks(network, ratio=2.0, input_shape=...)`.

    Returns:
        The plan, to give to `apply_lowrank`, and what was decided for each searched layer.

    Raises:
        ConfigError: a setting is unknown or out of range, or cannot be meant here.
        PlanError: the settings do not fit the network, or the profile lacks a layer.
        SetupError: this device cannot run a layer in what it computes in.

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
    if given.target is not None:
        raise ConfigError(
            "search_ranks: target chooses layers by the whole network's time; call "
            "ms_eff.select_layers, or drop target"
        )
    timed = in_precision(network, precision)
    by = by or criterion_of(network, find_layers(network), given, calibration, loss)
    planned, found = searched(timed, given, input_shape, input_dtype, timer, by)
    return planned.plan, found


def searched(
    network: nn.Cell,
    settings: LowRankSettings,
    input_shape: Sequence[int],
    input_dtype: Any,
    timer: LayerTimer | None = None,
    by: Criterion = WEIGHT,
) -> tuple[Planned, dict[str, RankChoice]]:
    """Return what `search_ranks` finds, with the reasons of the layers that stay.

    Args:
        network: in the precision that is to be timed.
        settings: with `rank_search` or a `latency` budget; `target` is not looked at.
        input_shape: of the network's input, batch axis first.
        input_dtype: of that input.
        timer: in place of the one that `rank_search.timer` names.
        by: the criterion with what it knows.
    """
    layers = find_layers(network)
    size = NetworkSize(network_params(network))
    if settings.source == "macs":
        positions, macs = layer_positions(network, layers, tuple(input_shape), input_dtype)
        size = replace(size, macs=macs, positions=positions)
    plan = partial(make_plan, layers, by=by)
    if settings.source == "latency":
        return by_latency(network, layers, settings, plan, size, input_shape, input_dtype, timer)
    planned = plan(settings, size)
    return _refined(network, layers, planned, settings, input_shape, input_dtype, timer)


def _refined(
    network: nn.Cell,
    layers: Sequence[Layer],
    planned: Planned,
    settings: LowRankSettings,
    input_shape: Sequence[int],
    input_dtype: Any,
    timer: LayerTimer | None = None,
) -> tuple[Planned, dict[str, RankChoice]]:
    """Take a plan's ranks as starts and return the plan of the searched ones, with the reasons."""
    search = settings.rank_search or RankSearch()
    timer = timer or layer_timer(search, input_shape, network_dtype(layers))
    works = layer_work(network, layers, input_shape, input_dtype)
    cells = {layer.name: layer for layer in layers}
    skipped, entries, found = dict(planned.skipped), [], {}
    cache: dict[Any, RankChoice] = {}
    for entry in planned.plan.layers:
        start = _start(entry.kind, entry.shape, entry.rank, settings.divisor)
        if entry.name not in works:
            skipped[entry.name] = NOT_CALLED
            continue
        key = works[entry.name].mix, start
        if key not in cache:
            cache[key] = _search(
                cells[entry.name], works[entry.name], start, settings, search, timer
            )
        choice = found[entry.name] = cache[key]
        if choice.rank is None:
            skipped[entry.name] = choice.why
        else:
            entries.append(replace(entry, rank=(choice.rank,) * len(entry.rank)))
    return Planned(LowRankPlan(tuple(entries), planned.plan.settings), skipped), found


def _search(
    layer: Layer,
    calls: LayerCalls,
    start: int,
    settings: LowRankSettings,
    search: RankSearch,
    timer: LayerTimer,
) -> RankChoice:
    floor = rank_floor(start, search.floor)
    step = search.step(settings.divisor)
    ranks = probed_ranks(start, floor, step)
    dense, times = mean_call(timer, layer, calls, ranks, search.objective)
    noise = 0.0 if isinstance(timer, ModelledLayers) else search.noise
    return search_rank(times.__getitem__, dense, start, floor=floor, step=step, noise=noise)


def _start(kind: str, shape: Shape, rank: Shape, divisor: int) -> int:
    """Return one rank for all modes: the largest whose factors have no more weights."""
    equal = min(rank)
    most = weights_of(kind, shape, rank)
    while equal < min(shape[:2]) and weights_of(kind, shape, (equal + 1,) * len(rank)) <= most:
        equal += 1
    return align_rank(equal, divisor)
