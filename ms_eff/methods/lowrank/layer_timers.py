"""Who knows how long a layer takes: this device, a profile of another one, or the cost model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from ms_eff.bench import environment
from ms_eff.bench.layers import measure_layer
from ms_eff.bench.profiler import ProfilerTimer
from ms_eff.bench.timers import Timer, WallTimer
from ms_eff.methods.lowrank.cost_model import MACHINES, LayerWork, Machine, Objective, modelled_ms
from ms_eff.methods.lowrank.layers import Layer
from ms_eff.methods.lowrank.profile import Conditions, Curve, LatencyProfile, read_profiles, select
from ms_eff.methods.lowrank.rank_search import Timing
from ms_eff.methods.lowrank.settings import RankSearch

__all__ = ["LayerTimer", "MeasuredLayers", "ModelledLayers", "RecordedLayers", "layer_timer"]


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
    def here(cls, search: RankSearch, batch: int) -> MeasuredLayers:
        """Return a timer of the settings' kind with an empty profile of this device."""
        found = environment.describe()
        version = found["versions"]["mindspore"]
        conditions = Conditions(found["device"], version, "float32", batch)
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


def layer_timer(search: RankSearch, input_shape: Sequence[int]) -> LayerTimer:
    """Return the timer that the settings name.

    Raises:
        PlanError: the latency profile cannot be read, or is of other conditions.
    """
    if search.timer == "model":
        return ModelledLayers(MACHINES[search.device or "ascend910"])
    if search.on_this_device:
        return MeasuredLayers.here(search, input_shape[0])
    profiles = read_profiles(search.timer)
    return RecordedLayers(select(profiles, input_shape[0], "float32", search.device, search.timer))
