"""A latency profile: how long layers take at which ranks, on which device. JSON to and fro.

It imports no MindSpore: what was measured on a board drives a search anywhere.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ms_eff.errors import PlanError, nearest
from ms_eff.files import read_json, replacing
from ms_eff.methods.lowrank.cost_model import LayerWork, Objective
from ms_eff.methods.lowrank.rank_search import Timing

__all__ = [
    "FORMAT",
    "Conditions",
    "Curve",
    "LatencyProfile",
    "NetworkWork",
    "merged",
    "read_profiles",
    "select",
    "write_profiles",
]

FORMAT = "ms_eff.latency/2"
# it noted neither the timer, nor dtypes layer by layer, nor the time of the whole network
_OLD = "ms_eff.latency/1"


@dataclass(frozen=True)
class Conditions:
    """Where timings were taken; timings of other conditions cannot be compared with them.

    Attributes:
        device: name of the accelerator or the CPU.
        mindspore: its version.
        dtype: what the layers compute in; `float16+float32` where they differ.
        batch: samples in one call of the network.
        timer: of the layers: `wall`, or `profiler`, which sees kernels only.
    """

    device: str
    mindspore: str
    dtype: str
    batch: int
    timer: str = "wall"

    def __str__(self) -> str:
        return (
            f"{self.device}, MindSpore {self.mindspore}, {self.dtype}, batch {self.batch}, "
            f"timer {self.timer}"
        )


@dataclass(frozen=True)
class NetworkWork:
    """A network as a profile knows it again: not by its weights, but by their number.

    Attributes:
        layers: how many have a weight matrix or kernel.
        params: parameters of the whole.
        input: shape of its input, batch axis first.
    """

    layers: int
    params: int
    input: tuple[int, ...]

    def __str__(self) -> str:
        size = "x".join(map(str, self.input))
        return f"of {self.layers} layers and {self.params} parameters on {size}"


@dataclass
class Curve:
    """Timings of one layer: whole, and decomposed by rank."""

    dense: Timing
    ranks: dict[int, Timing] = field(default_factory=dict)


@dataclass
class LatencyProfile:
    """Timings under one set of conditions, by objective and layer.

    Attributes:
        conditions: where they were taken.
        curves: each distinct layer once.
        environment: versions, date, command, for the record.
        networks: whole networks, by the wall clock whatever times the layers.
    """

    conditions: Conditions
    curves: dict[tuple[Objective, LayerWork], Curve] = field(default_factory=dict)
    environment: Mapping[str, Any] = field(default_factory=dict)
    networks: dict[tuple[Objective, NetworkWork], Timing] = field(default_factory=dict)

    def times(
        self, work: LayerWork, ranks: Sequence[int], objective: Objective
    ) -> tuple[Timing, dict[int, Timing]]:
        """Return the time of the layer and those at the ranks.

        Raises:
            PlanError: the layer, the objective or a rank was not measured.
        """
        curve = self.curves.get((objective, work))
        if curve is None:
            raise PlanError(
                f"latency profile ({self.conditions}): it has no layer '{work}' for objective "
                f"{objective}; record it on that device with `ms-eff bench ranks CONFIG`"
            )
        missing = [rank for rank in ranks if rank not in curve.ranks]
        if missing:
            raise PlanError(
                f"latency profile ({self.conditions}): layer '{work}' was not measured at rank "
                f"{missing[0]}; record it with the same ratio or budget, divisor and fast mode"
            )
        return curve.dense, {rank: curve.ranks[rank] for rank in ranks}

    def network(self, work: NetworkWork, objective: Objective) -> Timing:
        """Return the time of a whole network.

        Raises:
            PlanError: it was not measured.
        """
        if (objective, work) not in self.networks:
            raise PlanError(
                f"latency profile ({self.conditions}): it has no time of the whole network "
                f"{work} for objective {objective}, which a latency budget is a share of; record "
                "it on that device with `ms-eff bench ranks CONFIG`"
            )
        return self.networks[objective, work]

    def to_json(self) -> dict[str, Any]:
        """Return JSON-able values."""
        return {
            **asdict(self.conditions),
            "environment": dict(self.environment),
            "networks": [
                {"objective": objective, **_plain(work), "whole": asdict(timing)}
                for (objective, work), timing in self.networks.items()
            ],
            "layers": [
                {
                    "objective": objective,
                    **_plain(work),
                    "dense": asdict(curve.dense),
                    "ranks": {str(rank): asdict(t) for rank, t in curve.ranks.items()},
                }
                for (objective, work), curve in self.curves.items()
            ],
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> LatencyProfile:
        """Return the profile of `to_json`'s values; KeyError or TypeError if they are not such."""
        conditions = Conditions(*(values[key] for key in Conditions.__dataclass_fields__))
        profile = cls(conditions, environment=values.get("environment", {}))
        for row in values["layers"]:
            shape, inputs, output = (tuple(row[key]) for key in ("shape", "input", "output"))
            work = LayerWork(row["kind"], shape, inputs, output, row["geometry"], row["dtype"])
            ranks = {int(rank): Timing(**timing) for rank, timing in row["ranks"].items()}
            profile.curves[row["objective"], work] = Curve(Timing(**row["dense"]), ranks)
        for row in values["networks"]:
            whole = NetworkWork(row["layers"], row["params"], tuple(row["input"]))
            profile.networks[row["objective"], whole] = Timing(**row["whole"])
        return profile


def write_profiles(path: str | Path, profiles: Sequence[LatencyProfile]) -> None:
    """Write profiles into one file, whole or not at all; raises PlanError where it cannot."""
    values = {"format": FORMAT, "profiles": [profile.to_json() for profile in profiles]}
    with replacing(path, PlanError) as temporary:
        temporary.write_text(json.dumps(values, indent=1) + "\n", encoding="utf-8")


def read_profiles(path: str | Path) -> list[LatencyProfile]:
    """Read all profiles of a file.

    Raises:
        PlanError: the file is missing, is no JSON, no latency profile, or one of an older format.
    """
    values = read_json(path, PlanError)
    if isinstance(values, dict) and values.get("format") == _OLD:
        raise PlanError(
            f"{path}: latency profile of the older format '{_OLD}', which lacks the time of the "
            "whole network, the timer and dtypes; move it away, and record it again with "
            "`ms-eff bench ranks CONFIG`"
        )
    if not isinstance(values, dict) or values.get("format") != FORMAT:
        raise PlanError(f"{path}: no latency profile of format '{FORMAT}'; record one with bench")
    try:
        return [LatencyProfile.from_json(profile) for profile in values["profiles"]]
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise PlanError(f"{path}: damaged latency profile ({error!r}); record it again") from error


def merged(profiles: Sequence[LatencyProfile]) -> list[LatencyProfile]:
    """Return one profile for each set of conditions; the first timing of a layer counts."""
    found: dict[Conditions, LatencyProfile] = {}
    for profile in profiles:
        known = found.setdefault(profile.conditions, profile)
        known.curves = profile.curves | known.curves
        known.networks = profile.networks | known.networks
    return list(found.values())


def select(
    profiles: Sequence[LatencyProfile], batch: int, dtype: str, device: str | None, source: str
) -> LatencyProfile:
    """Return the one profile of a batch size, a dtype and a device.

    Args:
        profiles: of one file.
        batch: samples a call.
        dtype: what the network's layers compute in.
        device: as the profile names it; may be None if only one device is there.
        source: file name for messages.

    Raises:
        PlanError: none fits, or several devices or timers do; the message lists what is there.
    """
    known = "; ".join(str(profile.conditions) for profile in profiles) or "nothing"
    fitting = [p for p in profiles if (p.conditions.batch, p.conditions.dtype) == (batch, dtype)]
    fitting = [p for p in fitting if device in (None, p.conditions.device)]
    if not fitting:
        names = [profile.conditions.device for profile in profiles]
        hint = nearest(device, names) if device and device not in names else ""
        raise PlanError(
            f"{source}: no profile for {device or 'any device'}, {dtype}, batch {batch}{hint}; "
            f"it holds: {known}"
        )
    if len({profile.conditions.device for profile in fitting}) > 1:
        raise PlanError(f"{source}: several devices; name one by rank_search.device ({known})")
    if len({profile.conditions.timer for profile in fitting}) > 1:
        raise PlanError(
            f"{source}: layers by timer wall and by timer profiler, which do not compare; record "
            f"each in an output folder of its own ({known})"
        )
    return fitting[0]  # of several MindSpore versions, the one recorded last stands first


def _plain(work: LayerWork | NetworkWork) -> dict[str, Any]:
    values = asdict(work).items()
    return {key: list(value) if isinstance(value, tuple) else value for key, value in values}
