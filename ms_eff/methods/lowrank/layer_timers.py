"""Who knows how long a layer takes: this device, a profile of another one, or the cost model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Protocol

from ms_eff.bench import environment
from ms_eff.bench.layers import measure_layer
from ms_eff.bench.profiler import ProfilerTimer
from ms_eff.bench.timers import Timer, WallTimer
from ms_eff.methods.lowrank.cost_model import (
    MACHINES,
    LayerCalls,
    LayerWork,
    Machine,
    Objective,
    modelled_ms,
)
from ms_eff.methods.lowrank.layers import Layer
from ms_eff.methods.lowrank.profile import Conditions, Curve, LatencyProfile, read_profiles, select
from ms_eff.methods.lowrank.rank_search import Timing
from ms_eff.methods.lowrank.settings import RankSearch

__all__ = [
    "LayerTimer",
    "MeasuredLayers",
    "ModelledLayers",
    "RecordedLayers",
    "layer_timer",
    "mean_call",
    "source_of",
]


class LayerTimer(Protocol):
    """Whatever knows how long a layer takes, whole and at some ranks."""

    def times(
        self, layer: Layer, work: LayerWork, ranks: Sequence[int], objective: Objective
    ) -> tuple[Timing, dict[int, Timing]]:
        """Return the time of the layer, and the time by rank."""
        ...


@dataclass(frozen=True)
class MeasuredLayers:
    """Times layers on this device, and keeps what it measured in a profile."""

    timer: Timer
    profile: LatencyProfile

    @classmethod
    def here(cls, search: RankSearch, batch: int, dtype: str = "float32") -> MeasuredLayers:
        """Return a timer of the settings' kind with an empty profile of this device."""
        found = environment.describe()
        version = found["versions"]["mindspore"]
        conditions = Conditions(found["device"], version, dtype, batch, search.timer)
        profile = LatencyProfile(conditions, environment=found)
        kind = ProfilerTimer if search.timer == "profiler" else WallTimer
        return cls(kind(search.warmup, search.runs), profile)

    def times(
        self, layer: Layer, work: LayerWork, ranks: Sequence[int], objective: Objective
    ) -> tuple[Timing, dict[int, Timing]]:
        """Measure."""
        dense, found = measure_layer(layer, work, ranks, objective, self.timer)
        # equal layers may start from different ranks: a later curve adds to an earlier one
        known = self.profile.curves.get((objective, work), Curve(dense))
        self.profile.curves[objective, work] = Curve(dense, known.ranks | found)
        return dense, found


@dataclass(frozen=True)
class RecordedLayers:
    """Looks times up in a profile, which may come from another device."""

    profile: LatencyProfile

    def times(
        self, layer: Layer, work: LayerWork, ranks: Sequence[int], objective: Objective
    ) -> tuple[Timing, dict[int, Timing]]:
        """Look up; raises PlanError where the profile lacks a layer or a rank."""
        return self.profile.times(work, ranks, objective)


@dataclass(frozen=True)
class ModelledLayers:
    """Calculates times by the cost model."""

    machine: Machine = MACHINES["ascend910"]

    def times(
        self, layer: Layer, work: LayerWork, ranks: Sequence[int], objective: Objective
    ) -> tuple[Timing, dict[int, Timing]]:
        """Calculate."""
        dense = Timing(modelled_ms(work, None, objective, self.machine))
        return dense, {r: Timing(modelled_ms(work, r, objective, self.machine)) for r in ranks}


def mean_call(
    timer: LayerTimer, layer: Layer, calls: LayerCalls, ranks: Sequence[int], objective: Objective
) -> tuple[Timing, dict[int, Timing]]:
    """Return the time of a layer's mean call, whole and by rank; each distinct work is timed once.

    Raises:
        PlanError: a profile lacks a work or a rank.
    """
    found = [(share, *timer.times(layer, work, ranks, objective)) for work, share in calls.mix]
    if len(found) == 1:
        return found[0][1:]
    dense = _mean([(share, whole) for share, whole, _ in found])
    return dense, {r: _mean([(share, by_rank[r]) for share, _, by_rank in found]) for r in ranks}


def source_of(timer: LayerTimer) -> str:
    """Say in words where a timer's times come from."""
    if isinstance(timer, (MeasuredLayers, RecordedLayers)):
        return f"latency profile ({timer.profile.conditions})"
    return "the cost model" if isinstance(timer, ModelledLayers) else type(timer).__name__


def _mean(parts: Sequence[tuple[Fraction, Timing]]) -> Timing:
    return Timing(
        sum(float(share) * timing.median_ms for share, timing in parts),
        sum(float(share) * timing.spread_ms for share, timing in parts),
        min(timing.runs for _, timing in parts),
    )


def layer_timer(
    search: RankSearch, input_shape: Sequence[int], dtype: str = "float32"
) -> LayerTimer:
    """Return the timer that the settings name.

    Args:
        search: says who knows the times.
        input_shape: of the network's input, batch axis first.
        dtype: what its layers compute in (`bench.layers.network_dtype`).

    Raises:
        PlanError: the latency profile cannot be read, or is of other conditions.
    """
    if search.timer == "model":
        return ModelledLayers(MACHINES[search.device or "ascend910"])
    if search.on_this_device:
        return MeasuredLayers.here(search, input_shape[0], dtype)
    profiles = read_profiles(search.timer)
    return RecordedLayers(select(profiles, input_shape[0], dtype, search.device, search.timer))
