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
    "merged",
    "read_profiles",
    "select",
    "write_profiles",
]

FORMAT = "ms_eff.latency/1"


@dataclass(frozen=True)
class Conditions:
    """Where timings were taken; timings of other conditions cannot be compared with them.

    Attributes:
        device: name of the accelerator or the CPU.
        mindspore: its version.
        dtype: of weights and inputs, `float32`.
        batch: samples in one call of the network.
    """

    device: str
    mindspore: str
    dtype: str
    batch: int

    def __str__(self) -> str:
        return f"{self.device}, MindSpore {self.mindspore}, {self.dtype}, batch {self.batch}"


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
    """

    conditions: Conditions
    curves: dict[tuple[Objective, LayerWork], Curve] = field(default_factory=dict)
    environment: Mapping[str, Any] = field(default_factory=dict)

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

    def to_json(self) -> dict[str, Any]:
        """Return JSON-able values."""
        return {
            **asdict(self.conditions),
            "environment": dict(self.environment),
            "layers": [
                {
                    "objective": objective,
                    **{key: _plain(value) for key, value in asdict(work).items()},
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
            work = LayerWork(row["kind"], shape, inputs, output, row["geometry"])
            ranks = {int(rank): Timing(**timing) for rank, timing in row["ranks"].items()}
            profile.curves[row["objective"], work] = Curve(Timing(**row["dense"]), ranks)
        return profile


def write_profiles(path: str | Path, profiles: Sequence[LatencyProfile]) -> None:
    """Write profiles into one file, whole or not at all; raises PlanError where it cannot."""
    values = {"format": FORMAT, "profiles": [profile.to_json() for profile in profiles]}
    with replacing(path, PlanError) as temporary:
        temporary.write_text(json.dumps(values, indent=1) + "\n", encoding="utf-8")


def read_profiles(path: str | Path) -> list[LatencyProfile]:
    """Read all profiles of a file.

    Raises:
        PlanError: the file is missing, is no JSON, or no latency profile.
    """
    values = read_json(path, PlanError)
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
    return list(found.values())


def select(
    profiles: Sequence[LatencyProfile], batch: int, dtype: str, device: str | None, source: str
) -> LatencyProfile:
    """Return the one profile of a batch size, a dtype and a device.

    Args:
        profiles: of one file.
        batch: samples a call.
        dtype: of weights and inputs.
        device: as the profile names it; may be None if only one device is there.
        source: file name for messages.

    Raises:
        PlanError: none fits, or several devices do; the message lists what is there.
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
    return fitting[0]  # of several MindSpore versions, the one recorded last stands first


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
