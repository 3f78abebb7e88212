"""A plan: which layers are decomposed, and at which ranks. JSON to and fro; imports no MindSpore.

A plan and the weights are all that a decomposed network needs to be built again.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ms_eff.errors import PlanError, nearest
from ms_eff.files import read_json, replacing
from ms_eff.methods.lowrank.settings import CRITERIA, KINDS

__all__ = ["FORMAT", "LayerPlan", "LowRankPlan", "max_ranks"]

FORMAT = "ms_eff.lowrank/1"

Shape = tuple[int, ...]

_PLANNED = (*KINDS, "bottleneck")
_TWO_RANKS = ("conv", "bottleneck")


@dataclass(frozen=True)
class LayerPlan:
    """One decomposed layer.

    Attributes:
        name: the layer's name in the network; empty where the network is that layer.
        kind: `dense`, `conv1x1`, `conv` or `embedding`; `bottleneck` is a block to be merged.
        shape: of its weight: (S, C), (S, C, kh, kw), or (V, d) of an embedding. A bottleneck's is
            that of its k x k convolution.
        rank: (R,), or (r1, r2) of the input and output channels of a `conv` or `bottleneck`.
        branches: groups of the core of a `conv` or `bottleneck`; both ranks are multiples of it.
        bias: of a `bottleneck`: whether its merged 1x1 convolutions have biases, as in the paper.

    Raises:
        PlanError: unknown kind, a shape that does not fit it, or a rank above the matrix.

    >>> LayerPlan("fc", "dense", (10, 64), (4,)).rank
    (4,)
    """

    name: str
    kind: str
    shape: Shape
    rank: Shape
    branches: int = 1
    bias: bool = True

    def __post_init__(self) -> None:
        where = f"plan: layer '{self.name}'"
        if self.kind not in _PLANNED:
            hint = nearest(self.kind, _PLANNED) or f"; known: {', '.join(_PLANNED)}"
            raise PlanError(f"{where}: unknown kind '{self.kind}'{hint}")
        axes = 2 if self.kind in ("dense", "embedding") else 4
        if len(self.shape) != axes or min(self.shape) < 1:
            raise PlanError(f"{where}: a {self.kind} weight has {axes} axes, got {self.shape}")
        largest = max_ranks(self.kind, self.shape)
        fits = len(self.rank) == len(largest) and all(
            1 <= rank <= top for rank, top in zip(self.rank, largest, strict=True)
        )
        if not fits:
            raise PlanError(
                f"{where}: rank {_number(self.rank)} does not fit its {self.kind} weight "
                f"{self.shape}; at most {_number(largest)}"
            )
        _check_branches(self, where)

    def to_json(self) -> dict[str, Any]:
        """Return JSON-able values; one rank as a number, two as a list."""
        values: dict[str, Any] = {
            "name": self.name,
            "kind": self.kind,
            "shape": list(self.shape),
            "rank": _number(self.rank),
        }
        values |= {"branches": self.branches} if self.branches > 1 else {}
        return values | ({} if self.bias else {"bias": False})


@dataclass(frozen=True)
class LowRankPlan:
    """The decomposed layers of a network; every other layer stays as it is.

    Attributes:
        layers: in the order of the network.
        settings: what the plan was made from; but for the criterion, for the record only.

    >>> plan = LowRankPlan((LayerPlan("fc", "dense", (10, 64), (4,)),))
    >>> LowRankPlan.from_json(plan.to_json()) == plan
    True
    """

    layers: tuple[LayerPlan, ...]
    settings: Mapping[str, Any] = field(default_factory=dict, compare=False)

    def __post_init__(self) -> None:
        names = [layer.name for layer in self.layers]
        for name in names:
            if names.count(name) > 1:
                raise PlanError(f"plan: layer '{name}' stands in it twice; keep one")
        merged = [layer.kind == "bottleneck" for layer in self.layers]
        if any(merged) and not all(merged):
            raise PlanError("plan: bottlenecks and single layers in one plan; make it two")
        if self.criterion not in CRITERIA:
            hint = nearest(str(self.criterion), CRITERIA) or f"; known: {', '.join(CRITERIA)}"
            raise PlanError(f"plan: settings: unknown criterion '{self.criterion}'{hint}")

    @property
    def criterion(self) -> str:
        """Which error its layers are decomposed by; see `LowRankSettings`."""
        return str(self.settings.get("criterion", "weight"))

    @property
    def calibration_samples(self) -> int:
        """How many samples its criterion looks at."""
        return int(self.settings.get("calibration_samples", 256))

    @property
    def merges(self) -> bool:
        """Whether its entries are bottlenecks to be merged."""
        return any(layer.kind == "bottleneck" for layer in self.layers)

    def to_json(self) -> dict[str, Any]:
        """Return JSON-able values."""
        return {
            "format": FORMAT,
            "settings": dict(self.settings),
            "layers": [layer.to_json() for layer in self.layers],
        }

    @classmethod
    def from_json(cls, values: Any, source: str = "plan") -> LowRankPlan:
        """Return the plan of `to_json`'s values.

        Args:
            values: what was read.
            source: file name for messages.

        Raises:
            PlanError: file, layer, key and value in one line.
        """
        _check_keys(values, {"format", "layers"}, {"settings"}, source)
        if values["format"] != FORMAT:
            raise PlanError(
                f"{source}: format '{values['format']}' is not '{FORMAT}'; "
                "it is no low-rank plan, or one of another version"
            )
        if not isinstance(values["layers"], list):
            raise PlanError(f"{source}: layers: a list is expected")
        settings = values.get("settings", {})
        if not isinstance(settings, dict):
            raise PlanError(f"{source}: settings: a mapping is expected")
        return cls(tuple(_layer(value, source) for value in values["layers"]), settings)

    def save(self, path: str | Path) -> None:
        """Write JSON under a temporary name and rename it; raises PlanError where it cannot."""
        with replacing(path, PlanError) as temporary:
            temporary.write_text(json.dumps(self.to_json(), indent=1) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, path: str | Path) -> LowRankPlan:
        """Read a plan; raises PlanError that names file, layer and key."""
        values = read_json(path, PlanError)
        return cls.from_json(values, str(path))


def max_ranks(kind: str, shape: Shape) -> Shape:
    """Return the full rank(s) of a weight.

    >>> max_ranks("conv", (64, 3, 7, 7)), max_ranks("dense", (10, 64))
    ((3, 64), (10,))
    """
    return (shape[1], shape[0]) if kind in _TWO_RANKS else (min(shape[:2]),)


def _layer(value: Any, source: str) -> LayerPlan:
    name = value.get("name") if isinstance(value, dict) else None
    where = f"{source}: layer '{name}'" if isinstance(name, str) else f"{source}: a layer"
    _check_keys(value, {"name", "kind", "shape", "rank"}, {"branches", "bias"}, where)
    branches, bias = value.get("branches", 1), value.get("bias", True)
    if type(branches) is not int:
        raise PlanError(f"{where}: branches = {branches!r}: a whole number is expected")
    if type(bias) is not bool:
        raise PlanError(f"{where}: bias = {bias!r}: true or false is expected")
    rank = [value["rank"]] if type(value["rank"]) is int else value["rank"]
    for key, numbers in (("shape", value["shape"]), ("rank", rank)):
        if not isinstance(numbers, list) or any(type(n) is not int for n in numbers):
            raise PlanError(f"{where}: {key} = {value[key]!r}: whole numbers are expected")
    if not isinstance(name, str) or not isinstance(value["kind"], str):
        raise PlanError(f"{where}: name and kind are words, got {name!r} and {value['kind']!r}")
    try:
        shape, ranks = tuple(value["shape"]), tuple(rank)
        return LayerPlan(name, value["kind"], shape, ranks, branches, bias)
    except PlanError as error:
        raise PlanError(f"{source}: {str(error).removeprefix('plan: ')}") from error


def _check_branches(entry: LayerPlan, where: str) -> None:
    if not entry.bias and entry.kind != "bottleneck":
        raise PlanError(f"{where}: bias = False: only merged bottlenecks choose; drop it")
    if entry.branches < 1 or (entry.branches > 1 and entry.kind not in _TWO_RANKS):
        raise PlanError(
            f"{where}: branches = {entry.branches}: a {entry.kind} cannot be branched so"
        )
    if any(rank % entry.branches for rank in entry.rank):
        raise PlanError(
            f"{where}: rank {_number(entry.rank)} is no multiple of its {entry.branches} branches"
        )


def _check_keys(values: Any, needed: set[str], optional: set[str], where: str) -> None:
    if not isinstance(values, dict):
        raise PlanError(f"{where}: a mapping is expected, found {type(values).__name__}")
    for key in values:
        if key not in needed | optional:
            raise PlanError(f"{where}: unknown key '{key}'{nearest(str(key), needed | optional)}")
    for key in sorted(needed):
        if key not in values:
            raise PlanError(f"{where}: key '{key}' is missing")


def _number(rank: Shape) -> int | list[int]:
    return rank[0] if len(rank) == 1 else list(rank)
