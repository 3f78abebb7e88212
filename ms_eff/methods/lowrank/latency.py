"""A budget in measured milliseconds: the ranks that lose least within a share of the time (ours).

Every distinct layer is timed at some ranks; the budget is shared out as one in parameters is, with
the times as costs. The sum over layers is not quite the network, so the network itself is timed,
and the budget tightened until it holds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from mindspore import nn

from ms_eff.bench.layers import layer_work, network_dtype, network_work
from ms_eff.bench.whole import WholeTimer, wall_timer
from ms_eff.errors import ConfigError, PlanError
from ms_eff.methods.lowrank.core import break_even_rank
from ms_eff.methods.lowrank.cost_model import LayerCalls, Objective
from ms_eff.methods.lowrank.costs import LayerTimes, weights_of
from ms_eff.methods.lowrank.layer_timers import (
    LayerTimer,
    MeasuredLayers,
    RecordedLayers,
    layer_timer,
    mean_call,
    source_of,
)
from ms_eff.methods.lowrank.layers import Layer
from ms_eff.methods.lowrank.plan import LowRankPlan
from ms_eff.methods.lowrank.planner import NOT_CALLED, NetworkSize, Planned, excluded
from ms_eff.methods.lowrank.profile import NetworkWork
from ms_eff.methods.lowrank.rank_search import RankChoice, Timing
from ms_eff.methods.lowrank.rebuilding import stand_in
from ms_eff.methods.lowrank.settings import LowRankSettings, RankSearch
from ms_eff.methods.lowrank.whole_times import MEASURED_HERE, NetworkTimes

__all__ = ["budget_ranks", "by_latency"]

Shape = tuple[int, ...]
Planner = Callable[[LowRankSettings, NetworkSize], Planned]
Timed = tuple[Timing, dict[int, Timing]]

_PROBES = 8  # ranks a layer, ours: evenly spread below the rank that saves nothing
_ROUNDS = 4  # of tightening
_NOISE = 0.02  # of the whole network's time


def by_latency(
    network: nn.Cell,
    layers: Sequence[Layer],
    settings: LowRankSettings,
    plan: Planner,
    size: NetworkSize,
    input_shape: Sequence[int] | None,
    input_dtype: Any,
    timer: LayerTimer | None = None,
    whole_timer: WholeTimer | None = None,
) -> tuple[Planned, dict[str, RankChoice]]:
    """Return the plan whose network takes at most `settings.latency` of the original's time.

    With a profile nothing is run, and the share is one of the whole network's time in it. The model
    as timer, and one that is injected, know layers only: the share is one of their time.

    Args:
        network: any cell; it stays as it is.
        layers: all those of the network.
        settings: with a `latency` budget; `rank_search` says what is timed, and how.
        plan: settings, size with times -> plan.
        size: of the network, without times.
        input_shape: of the network's input, batch axis first.
        input_dtype: of that input.
        timer: of layers, in place of the one that `rank_search.timer` names.
        whole_timer: of networks, in place of the wall clock.

    Raises:
        ConfigError: the shape of the input is not known.
        PlanError: the budget is out of reach, by the layers' times or by the whole network's; the
            profile does not know the network.
    """
    search, share = settings.rank_search or RankSearch(), settings.latency or 1.0
    if input_shape is None:
        raise ConfigError(f"lowrank.latency = {share}: needs the network's input; pass input_shape")
    if whole_timer is None and timer is None and search.on_this_device:
        whole_timer = wall_timer(
            input_shape, input_dtype, search.objective, search.warmup, search.runs
        )
    timer = timer or layer_timer(search, input_shape, network_dtype(layers))
    works = layer_work(network, layers, input_shape, input_dtype)
    timed, unfit = _timed(layers, works, settings, search, timer)
    times = {name: _all_calls(found, works[name].calls) for name, found in timed.items()}
    size = replace(size, times=times)
    if whole_timer is not None:
        planned, dense_ms, measured_ms = _tightened(network, settings, plan, size, whole_timer)
        source = MEASURED_HERE
    else:
        work = network_work(network, layers, input_shape)
        dense_ms, source = _known(timer, work, search.objective, times)
        planned, measured_ms = plan(settings, replace(size, latency=_ns(dense_ms))), None
    spared = sum(times[e.name].dense - times[e.name].ranks[e.rank[0]] for e in planned.plan.layers)
    whole = NetworkTimes(search.objective, source, dense_ms, dense_ms - spared / 1e6, measured_ms)
    planned = Planned(planned.plan, {**planned.skipped, **unfit}, whole)
    return planned, _choices(planned, timed)


def budget_ranks(kind: str, shape: Shape, step: int) -> list[int]:
    """Return the ranks to time, largest first: multiples of `step` that make the layer smaller.

    >>> budget_ranks("dense", (512, 512), 8), budget_ranks("conv", (64, 64, 3, 3), 8)
    ([248, 216, 184, 152, 120, 88, 56, 24], [56, 48, 40, 32, 24, 16, 8])
    """
    largest = _break_even(kind, shape)
    spread = [largest * part // _PROBES for part in range(_PROBES, 0, -1)]
    return list(dict.fromkeys(rank - rank % step for rank in spread if rank >= step))


def _break_even(kind: str, shape: Shape) -> int:
    if kind != "conv":
        return break_even_rank(shape[1], shape[0])
    whole, rank = weights_of(kind, shape), min(shape[:2])
    while rank and weights_of(kind, shape, (rank, rank)) >= whole:
        rank -= 1
    return rank


def _timed(
    layers: Sequence[Layer],
    works: dict[str, LayerCalls],
    settings: LowRankSettings,
    search: RankSearch,
    timer: LayerTimer,
) -> tuple[dict[str, Timed], dict[str, str]]:
    """Time each distinct layer that may be decomposed once, at the ranks of a budget.

    Returns:
        The times of a mean call by layer, and why others that may be decomposed have none.
    """
    step, found, unfit = search.step(settings.divisor), {}, {}
    cache: dict[Any, Timed] = {}
    for layer in layers:
        if excluded(layer, settings):
            continue
        ranks = budget_ranks(layer.kind, layer.shape, step)
        if layer.name not in works or not ranks:
            none = f"no rank that is a multiple of {step} makes it smaller"
            unfit[layer.name] = none if layer.name in works else NOT_CALLED
            continue
        calls = works[layer.name]
        if calls.mix not in cache:
            cache[calls.mix] = mean_call(timer, layer, calls, ranks, search.objective)
        found[layer.name] = cache[calls.mix]
    return found, unfit


def _known(
    timer: LayerTimer, work: NetworkWork, objective: Objective, times: Mapping[str, LayerTimes]
) -> tuple[float, str]:
    """Return what the whole network takes without running it, in milliseconds, and who says so."""
    if isinstance(timer, (MeasuredLayers, RecordedLayers)):
        return timer.profile.network(work, objective).median_ms, source_of(timer)
    total = sum(layer.dense for layer in times.values())
    return total / 1e6, f"{source_of(timer)}, of the timed layers alone"


def _ns(ms: float) -> int:
    return int(ms * 1e6)


def _all_calls(timed: Timed, calls: int) -> LayerTimes:
    dense, ranks = timed
    by_rank = {rank: _ns(timing.median_ms * calls) for rank, timing in ranks.items()}
    return LayerTimes(_ns(dense.median_ms * calls), by_rank)


def _tightened(
    network: nn.Cell,
    settings: LowRankSettings,
    plan: Planner,
    size: NetworkSize,
    whole_timer: WholeTimer,
) -> tuple[Planned, float, float]:
    """Plan, time the whole, and ask for less as long as it takes too long.

    Returns:
        The plan, and what the original and the new network took side by side, in milliseconds.
    """
    size = replace(size, latency=_ns(whole_timer([network])[0]))
    wanted = allowed = settings.latency or 1.0
    reached: list[float] = []
    for _ in range(_ROUNDS):
        asked = settings.model_copy(update={"latency": allowed})
        try:
            planned = plan(asked, size)
        except PlanError:
            if not reached:
                raise
            break
        original, taken = whole_timer([network, stand_in(network, planned.plan)])
        reached.append(taken / original)  # side by side, so that drift of the machine cancels
        if reached[-1] <= wanted * (1 + _NOISE):
            record = settings.model_dump(mode="json", exclude_unset=True)
            final = replace(planned, plan=LowRankPlan(planned.plan.layers, record))
            return final, original, taken
        allowed *= wanted / reached[-1]
    raise PlanError(
        f"lowrank.latency = {wanted}: the fastest network that was tried takes "
        f"{min(reached):.3f} of the original's time; raise it, or exclude fewer layers"
    )


def _choices(planned: Planned, timed: dict[str, Timed]) -> dict[str, RankChoice]:
    """Say for each timed layer what it takes, and what was decided."""
    ranks = {entry.name: entry.rank[0] for entry in planned.plan.layers}
    found = {}
    for name, (dense, curve) in timed.items():
        rank = ranks.get(name)
        why = f"ORG: {planned.skipped.get(name, '')}"
        if rank is not None:
            why = (
                f"rank {rank}: loses least for its time within the budget; "
                f"{curve[rank].median_ms:.4g} ms, the layer itself {dense.median_ms:.4g} ms"
            )
        found[name] = RankChoice(rank, max(curve), dense, tuple(curve.items()), why)
    return found
