"""What is known of a whole network's time before and after; imports no MindSpore."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from ms_eff.methods.lowrank.cost_model import Objective

__all__ = ["MEASURED_HERE", "NetworkTimes"]

MEASURED_HERE = "measured here"


@dataclass(frozen=True)
class NetworkTimes:
    """Times of a whole network, end to end, in milliseconds.

    Attributes:
        objective: `infer` times the forward, `train` the whole step.
        source: who says so: `measured here`, a latency profile, or the model.
        dense_ms: the original network; None if nobody knows, or no layer came so far.
        predicted_ms: that less what the single layers gain.
        measured_ms: the new network; None if it was not run.
    """

    objective: Objective
    source: str
    dense_ms: float | None = None
    predicted_ms: float | None = None
    measured_ms: float | None = None

    def to_json(self) -> dict[str, Any]:
        """Return JSON-able values."""
        return asdict(self)
