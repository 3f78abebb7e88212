"""Parts of the low-rank method's settings that are mappings of their own; imports no MindSpore."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from ms_eff.errors import nearest
from ms_eff.methods.lowrank.cost_model import MACHINES
from ms_eff.section import Section

__all__ = ["FreezeSettings", "Rank", "RankSearch", "Ratio", "RatioRank", "Targeting", "is_rank"]

# timers that measure on this device
_HERE = ("wall", "profiler")
_FAST_STEP = 8  # ours: a vector register of eight float32 on a CPU, half a tile of a cube unit

Rank = Annotated[int, Field(ge=1)]
Ratio = Annotated[float, Field(gt=1)]


class RatioRank(Section):
    """In `ranks`: the rank that makes this layer `ratio` times smaller."""

    ratio: Ratio


class FreezeSettings(Section):
    """Let one set of factors rest while the others train (arXiv:2407.20266, 2309.03824).

    The outer set is `first` of a pair, `first` and `last` of a Tucker triple; the inner set is
    `last` of a pair, `core` of a triple. Everything that is not decomposed trains always.

    Attributes:
        kind: `static` rests one set for good, `sequential` alternates.
        period: epochs until sequential freezing changes sides (ours: 1).
        start: the set that rests first, or for good (ours for sequential: outer).
    """

    kind: Literal["static", "sequential"]
    period: int = Field(1, ge=1)
    start: Literal["outer", "inner"] = "outer"

    @model_validator(mode="after")
    def _no_idle_period(self) -> Self:
        if self.kind == "static" and "period" in self.model_fields_set:
            raise ValueError("static freezing never changes sides; drop period")
        return self


class RankSearch(Section):
    """Bring each rank down to the best latency cliff, or keep the layer (2407.20266, Algorithm 1).

    Attributes:
        objective: what has to be fast: `infer` is the forward, `train` forward and backward.
        timer: `wall` measures here, by the clock; `profiler` likewise, by MindSpore's profiler,
            kernels only; a latency profile (`*.json`, by `ms-eff bench ranks`) was measured
            elsewhere; `model` calculates for an Ascend cube unit, and is only a model.
        device: whose profile to take where a file holds several; for `model` the machine,
            `ascend910` (default) or `ascend310`. Measuring here there is no choice.
        fast: time only the start rank and multiples of `divisor` (of 8 where that is 1).
        floor: lowest rank looked at, as a share of the start rank.
        noise: a jump, or the gain on the layer itself, counts only above this share of the time;
            a jump also only above the measured spreads, the gain above the medians' errors.
        warmup: measuring here: calls thrown away.
        runs: measuring here: calls that count.
    """

    objective: Literal["infer", "train"] = "infer"
    timer: str = "wall"
    device: str | None = None
    fast: bool = True
    floor: float = Field(0.7, gt=0, le=1)
    noise: float = Field(0.02, ge=0, lt=1)
    warmup: int = Field(3, ge=1)
    runs: int = Field(20, ge=3)

    @field_validator("timer")
    @classmethod
    def _known(cls, timer: str) -> str:
        known = (*_HERE, "model")
        if timer not in known and not timer.endswith(".json"):
            raise ValueError(
                f"'{timer}' is no timer{nearest(timer, known)}; known: {', '.join(known)}, "
                "a latency profile *.json"
            )
        return timer

    @model_validator(mode="after")
    def _machine(self) -> Self:
        if self.timer == "model" and self.device not in (None, *MACHINES):
            raise ValueError(f"device '{self.device}' has no model; known: {', '.join(MACHINES)}")
        if self.on_this_device and self.device is not None:
            raise ValueError(
                f"device '{self.device}' chooses among profiles or models, and timer {self.timer} "
                "measures on this one; drop device, or name a profile *.json"
            )
        return self

    @property
    def on_this_device(self) -> bool:
        """Whether times are measured here and now."""
        return self.timer in _HERE

    @property
    def recorded(self) -> bool:
        """Whether times come from a latency profile."""
        return self.timer.endswith(".json")

    def step(self, divisor: int) -> int:
        """Return the distance of two ranks that are timed.

        >>> RankSearch().step(1), RankSearch().step(16), RankSearch(fast=False).step(1)
        (8, 16, 1)
        """
        return divisor if divisor > 1 else _FAST_STEP if self.fast else 1


class Targeting(Section):
    """Decompose only what makes the whole network faster (after arXiv:2309.12412; ours).

    Attributes:
        threshold: least gain of a layer, as a share of its own time.
        tolerance: what counts as noise of the whole network's time, as a share.
        share: decompose at most that share of the layers looked at, those that gain most.
    """

    threshold: float = Field(0.05, ge=0, lt=1)
    tolerance: float = Field(0.02, ge=0, lt=1)
    share: float = Field(1.0, gt=0, le=1)


def is_rank(value: Any) -> bool:
    """Tell whether a value of `ranks` is a rank, a pair of them, or a ratio."""
    if isinstance(value, RatioRank):
        return True
    if isinstance(value, Mapping):
        ratio = value.get("ratio")
        return set(value) == {"ratio"} and isinstance(ratio, (int, float)) and ratio > 1
    ranks = value if isinstance(value, (list, tuple)) and len(value) == 2 else [value]
    return all(type(rank) is int and rank >= 1 for rank in ranks)
