"""What a user may ask of the low-rank method; imports no MindSpore."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, ValidationError, field_validator, model_validator

from ms_eff.errors import ConfigError, nearest
from ms_eff.methods.lowrank.settings_parts import (
    FreezeSettings,
    Rank,
    RankSearch,
    Ratio,
    RatioRank,
    Targeting,
    is_rank,
)
from ms_eff.section import Section, first_mistake

__all__ = [
    "BUDGETS",
    "CRITERIA",
    "KINDS",
    "SOURCES",
    "FreezeSettings",
    "LowRankSettings",
    "RankSearch",
    "RatioRank",
    "Targeting",
    "make_settings",
    "timed_precision",
    "to_record",
    "with_search",
]

CRITERIA = ("weight", "activation", "two_sided")
# where ranks may come from; a user names exactly one
SOURCES = ("ratio", "params", "macs", "latency", "rank", "ranks", "vbmf", "merge", "plan")
BUDGETS = ("params", "macs", "latency")
KINDS = ("dense", "conv1x1", "conv", "embedding")

Kind = Literal["dense", "conv1x1", "conv", "embedding"]
Share = Annotated[float, Field(gt=0, lt=1)]


class LowRankSettings(Section):
    """Replace layers by low-rank factors (arXiv:2407.20266); name one source of ranks.

    Attributes:
        ratio: how many times fewer weights each decomposed layer has, old / new: 2.0 halves it.
        params: global budget: the share of the whole network's parameters to keep, 0.5 is half.
            Ranks are chosen layer by layer from the known truncation errors.
        macs: the same for multiply-accumulates.
        latency: the same for the time that the network takes, in inference or in training
            (`rank_search.objective`), measured by `rank_search.timer` at that batch size.
        rank: one rank for every layer; of a convolution it is that of both channel modes.
        ranks: name pattern -> rank, [r1, r2] (convolutions) or {ratio: x}; the first pattern that
            matches a layer counts, layers that none matches stay as they are.
        vbmf: ranks by analytic variational Bayes (Nakajima et al. 2013).
        merge: merge bottlenecks in place of decomposing layers: the rank of each 3x3 convolution
            as a share of its width; the paper's is 0.5. Patterns then match blocks.
        merge_bias: merged 1x1 convolutions have biases, as the paper's counts say. False gives
            the same function, faster (see `merge_bottlenecks`).
        plan: JSON file of an earlier plan, applied as written.
        include: only layers that match one of these name patterns (as in a shell).
        exclude: never these. The papers leave a ResNet's stem and its downsample convolutions
            whole, and so does the default.
        layers: kinds of layers to decompose.
        divisor: round ranks down to a multiple (16 suits Ascend's cube unit, 1 is off).
        branches: groups of the core of each decomposed k x k convolution; its ranks are rounded
            down to a multiple.
        freeze: `static`, `sequential`, or a mapping (see `FreezeSettings`); how it is trained, so
            that it may stand beside a plan.
        rank_search: take the ranks as starts of a search by latency, or say how a `latency` budget
            is measured; see `RankSearch`.
        target: decompose only layers that make the whole network faster; `true`, or a mapping
            (see `Targeting`). Ranks come from the rank search.
        criterion: which error is made small, and shared out by budgets: `weight`, that of the
            weights; `activation`, that of the layers' outputs on real inputs; `two_sided`, what
            it costs the loss. The last two need calibration data.
        calibration_samples: how many of them are taken.
    """

    ratio: Ratio | None = None
    params: Share | None = None
    macs: Share | None = None
    latency: Share | None = None
    rank: Rank | None = None
    ranks: dict[str, Rank | tuple[Rank, Rank] | RatioRank] | None = Field(None, min_length=1)
    vbmf: bool = False
    merge: Annotated[float, Field(gt=0, le=1)] | None = None
    merge_bias: bool = True
    plan: Path | None = None
    include: tuple[str, ...] = ("*",)
    exclude: tuple[str, ...] = ("conv1", "*.downsample.*")
    layers: tuple[Kind, ...] = Field(("dense", "conv1x1", "conv"), min_length=1)
    divisor: int = Field(1, ge=1)
    branches: int = Field(1, ge=1)
    freeze: FreezeSettings | None = None
    rank_search: RankSearch | None = None
    target: Targeting | None = None
    criterion: Literal["weight", "activation", "two_sided"] = "weight"
    calibration_samples: int = Field(256, ge=1)

    @model_validator(mode="before")
    @classmethod
    def _as_said(cls, given: Any) -> Any:
        """Take `budget: {latency: 0.7}` for `latency: 0.7`, and null for not said."""
        if not isinstance(given, Mapping):
            return given
        # a config that builds on another takes a key back by null, whatever its type
        given = {key: value for key, value in given.items() if value is not None}
        if "budget" not in given:
            return given
        budget = given["budget"]
        if not isinstance(budget, Mapping):
            raise ValueError(
                f"budget = {budget!r}: name what it is a share of, one of {', '.join(BUDGETS)}, as "
                "in budget: {params: 0.5}"
            )
        if len(budget) != 1 or not set(budget) <= set(BUDGETS):
            raise ValueError(
                f"budget: {', '.join(map(str, budget)) or 'nothing'} is given; name one of "
                f"{', '.join(BUDGETS)}, as in budget: {{latency: 0.7}}"
            )
        (name,) = budget
        if name in given:
            raise ValueError(f"budget.{name} and {name} say it twice; drop one")
        return {**{k: v for k, v in given.items() if k != "budget"}, **budget}

    @field_validator("target", mode="before")
    @classmethod
    def _target_by_flag(cls, target: Any) -> Any:
        return {True: {}, False: None}[target] if isinstance(target, bool) else target

    @field_validator("ranks", mode="before")
    @classmethod
    def _readable(cls, ranks: Any) -> Any:
        # one clear message in place of one for each member of the union
        for pattern, value in ranks.items() if isinstance(ranks, Mapping) else ():
            if not is_rank(value):
                raise ValueError(
                    f"'{pattern}': {value!r} is no rank; give a number from 1, [r1, r2], "
                    "or {ratio: x} with x above 1"
                )
        return ranks

    @field_validator("freeze", mode="before")
    @classmethod
    def _freeze_by_name(cls, freeze: Any) -> Any:
        return {"kind": freeze} if isinstance(freeze, str) else freeze

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        given = [name for name in SOURCES if getattr(self, name) not in (None, False)]
        if len(given) != 1:
            found = f"found {' and '.join(given)}" if given else "found none"
            raise ValueError(f"name exactly one of {', '.join(SOURCES)}; {found}")
        beside = self.model_fields_set - {"plan", "vbmf", "freeze"}
        if given == ["plan"] and beside:
            raise ValueError(f"a plan is applied as written; drop {', '.join(sorted(beside))}")
        timed = [n for n in ("latency", "rank_search", "target") if getattr(self, n) is not None]
        if timed and (self.branches > 1 or given == ["merge"]):
            other = "merge" if given == ["merge"] else "branches"
            raise ValueError(f"{timed[0]} times single layers, not {other}; drop one of them")
        if self.target is not None and given == ["latency"]:
            raise ValueError("a latency budget goes by measured gains already; drop target")
        if given == ["latency"] and self.rank_search is not None:
            unused = self.rank_search.model_fields_set & {"floor", "noise"}
            if unused:
                raise ValueError(
                    "a latency budget takes no single cliffs; drop "
                    + ", ".join(f"rank_search.{name}" for name in sorted(unused))
                )
        if given != ["merge"] and "merge_bias" in self.model_fields_set:
            raise ValueError("merge_bias is about merging; drop it, or name merge")
        if self.criterion == "weight" and "calibration_samples" in self.model_fields_set:
            raise ValueError(
                "calibration_samples is for criterion activation or two_sided; name one, or drop it"
            )
        if given == ["merge"] and self.criterion != "weight":
            raise ValueError(
                f"merge goes by the weight alone, not by criterion {self.criterion}; drop one"
            )
        idle = self.model_fields_set & {"layers", "freeze"}
        if given == ["merge"] and idle:
            raise ValueError(
                f"merge leaves no factors and takes whole blocks; drop {', '.join(sorted(idle))}"
            )
        return self

    @property
    def source(self) -> str:
        """The one of `SOURCES` that was given.

        >>> LowRankSettings(ratio=2.0).source
        'ratio'
        """
        return next(name for name in SOURCES if getattr(self, name) not in (None, False))


def with_search(settings: LowRankSettings, search: RankSearch) -> LowRankSettings:
    """Return the settings with that rank search, checked together.

    Raises:
        ConfigError: they cannot be searched; merging and branches cannot.
    """
    said = settings.model_dump(exclude_unset=True)
    return make_settings({**said, "rank_search": search.model_dump(exclude_unset=True)})


def to_record(settings: LowRankSettings) -> LowRankSettings:
    """Return the settings to record the latency profile by that these will want to read.

    Raises:
        ConfigError: they cannot be searched; merging and branches cannot.

    >>> search = {"timer": "board.json", "device": "Ascend310", "runs": 50}
    >>> to_record(LowRankSettings(ratio=2.0, target={}, rank_search=search)).rank_search.timer
    'wall'
    """
    search = settings.rank_search or RankSearch()
    if not search.on_this_device:  # the file is what is to be recorded, and the device is this one
        said = search.model_dump(exclude_unset=True, exclude={"timer", "device"})
        search = RankSearch(**said)
    without = {k: v for k, v in settings.model_dump(exclude_unset=True).items() if k != "target"}
    return with_search(make_settings(without), search)


def timed_precision(settings: LowRankSettings, training: str) -> str:
    """Return the precision level to time a network in that is trained at level `training`.

    Training steps run in it; networks are saved, exported and used for inference in float32.

    >>> search = {"objective": "train"}
    >>> timed_precision(LowRankSettings(ratio=2.0, rank_search=search), "O2")
    'O2'
    >>> timed_precision(LowRankSettings(ratio=2.0), "O2")
    'O0'
    """
    search = settings.rank_search or RankSearch()
    return training if search.objective == "train" else "O0"


def make_settings(given: Mapping[str, Any]) -> LowRankSettings:
    """Return validated settings from keyword arguments.

    Raises:
        ConfigError: the argument, its value and the remedy, in one line.

    >>> make_settings({"ratoi": 2.0})
    Traceback (most recent call last):
    ms_eff.errors.ConfigError: lowrank: unknown setting 'ratoi' (did you mean 'ratio'?)
    """
    try:
        return LowRankSettings(**given)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        if first["type"] == "extra_forbidden":
            hint = nearest(key, LowRankSettings.model_fields)
            raise ConfigError(f"lowrank: unknown setting '{key}'{hint}") from error
        raise ConfigError(f"lowrank: {first_mistake(error)}") from error
