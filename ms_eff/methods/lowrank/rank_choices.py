"""Ranks that do not depend on other layers: by ratio, one for all, by name, by VBMF."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase

from ms_eff.errors import PlanError
from ms_eff.methods.lowrank.core import rank_for_ratio
from ms_eff.methods.lowrank.layers import Layer, read_weight
from ms_eff.methods.lowrank.plan import max_ranks
from ms_eff.methods.lowrank.settings import LowRankSettings, RatioRank
from ms_eff.methods.lowrank.tucker import tucker_ranks_for_ratio
from ms_eff.methods.lowrank.vbmf import vbmf_rank, vbmf_tucker_ranks

__all__ = ["CHOOSERS", "Choice", "Shape", "matching"]

Shape = tuple[int, ...]
# a rank, or the reason why the layer stays as it is
Choice = Shape | str


def matching(name: str, patterns: Sequence[str]) -> str | None:
    """Return the first pattern that a layer's name matches, or None."""
    return next((pattern for pattern in patterns if fnmatchcase(name, pattern)), None)


def _by_ratio(layers: Sequence[Layer], settings: LowRankSettings) -> dict[str, Choice]:
    return {layer.name: _ratio_rank(layer, settings.ratio or 0) for layer in layers}


def _ratio_rank(layer: Layer, ratio: float) -> Choice:
    if layer.kind == "conv":
        rank: Shape = tucker_ranks_for_ratio(layer.shape, ratio)
    else:
        rank = (rank_for_ratio(layer.shape[1], layer.shape[0], ratio),)
    return rank if min(rank) else f"no rank makes it {ratio:g} times smaller"


def _by_rank(layers: Sequence[Layer], settings: LowRankSettings) -> dict[str, Choice]:
    rank = settings.rank or 0
    full = {layer.name: min(max_ranks(layer.kind, layer.shape)) for layer in layers}
    if rank > max(full.values()):
        name = max(full, key=lambda n: full[n])
        raise PlanError(
            f"lowrank.rank: {rank} is above the full rank of every layer "
            f"(the largest: {full[name]}, '{name}'); choose a smaller one"
        )
    return {
        layer.name: f"rank {rank} is above its full rank {full[layer.name]}"
        if rank > full[layer.name]
        else (rank,) * len(max_ranks(layer.kind, layer.shape))
        for layer in layers
    }


def _by_ranks(layers: Sequence[Layer], settings: LowRankSettings) -> dict[str, Choice]:
    patterns = settings.ranks or {}
    choices: dict[str, Choice] = {}
    for layer in layers:
        pattern = matching(layer.name, list(patterns))
        if pattern is None:
            choices[layer.name] = "no pattern of ranks matches it"
        else:
            choices[layer.name] = _given_rank(layer, pattern, patterns[pattern])
    return choices


def _given_rank(layer: Layer, pattern: str, given: int | Shape | RatioRank) -> Choice:
    if isinstance(given, RatioRank):
        return _ratio_rank(layer, given.ratio)
    full = max_ranks(layer.kind, layer.shape)
    rank = (given,) * len(full) if isinstance(given, int) else given
    if len(rank) != len(full) or any(r > top for r, top in zip(rank, full, strict=True)):
        shown = given if isinstance(given, int) else list(given)
        raise PlanError(
            f"lowrank.ranks: '{pattern}': {shown} does not fit layer '{layer.name}', a "
            f"{layer.kind} of {layer.shape}; at most {full[0] if len(full) == 1 else list(full)}"
        )
    return rank


def _by_vbmf(layers: Sequence[Layer], settings: LowRankSettings) -> dict[str, Choice]:
    choices: dict[str, Choice] = {}
    for layer in layers:
        weight = read_weight(layer)
        if layer.kind == "conv":
            rank: Shape = vbmf_tucker_ranks(weight)
        else:
            rank = (vbmf_rank(weight.reshape(weight.shape[:2])),)
        choices[layer.name] = rank if min(rank) else "VBMF finds nothing above the noise in it"
    return choices


# source of ranks -> (layers, settings) to a choice for each layer, by name
CHOOSERS = {"ratio": _by_ratio, "rank": _by_rank, "ranks": _by_ranks, "vbmf": _by_vbmf}
