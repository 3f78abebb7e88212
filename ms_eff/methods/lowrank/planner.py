"""From settings and a network to a plan: which layers, at which ranks, and why not the others."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ms_eff.errors import ConfigError, PlanError, nearest
from ms_eff.methods.lowrank.budget import Candidate, allocate, reachable
from ms_eff.methods.lowrank.core import align_rank
from ms_eff.methods.lowrank.costs import LayerTimes, Positions, macs_of, weights_of
from ms_eff.methods.lowrank.criteria import WEIGHT, Criterion
from ms_eff.methods.lowrank.layers import Layer
from ms_eff.methods.lowrank.plan import LayerPlan, LowRankPlan
from ms_eff.methods.lowrank.rank_choices import CHOOSERS, Choice, Shape, matching
from ms_eff.methods.lowrank.settings import LowRankSettings
from ms_eff.methods.lowrank.whole_times import NetworkTimes

__all__ = ["NOT_CALLED", "NetworkSize", "Planned", "excluded", "make_plan"]

NOT_CALLED = "the forward never calls it"

Losses = Callable[[NDArray[np.float64]], NDArray[np.float64]]


@dataclass(frozen=True)
class NetworkSize:
    """What the whole network weighs and costs; a budget is a share of it.

    Attributes:
        params: all parameters.
        macs: multiply-accumulates for one sample, if the shape of its input is known.
        positions: by layer name, likewise.
        latency: time of one run in nanoseconds, if it was measured.
        times: by layer name, likewise.
    """

    params: int
    macs: int | None = None
    positions: Mapping[str, Positions] = field(default_factory=dict)
    latency: int | None = None
    times: Mapping[str, LayerTimes] = field(default_factory=dict)


@dataclass(frozen=True)
class Planned:
    """A plan, for each layer that is not in it the reason, and what the whole network takes."""

    plan: LowRankPlan
    skipped: Mapping[str, str]
    whole: NetworkTimes | None = None


def make_plan(
    layers: Sequence[Layer],
    settings: LowRankSettings,
    size: NetworkSize,
    losses: Losses | None = None,
    by: Criterion = WEIGHT,
) -> Planned:
    """Choose layers and ranks; `settings.source` must not be `plan`.

    Args:
        layers: all those of the network.
        settings: what the user asks for.
        size: of the whole network.
        losses: for budgets: singular values -> what ranks 1 .. n of that matrix lose; those of
            the criterion if None.
        by: the criterion of `settings.criterion`, with what it knows about the layers.

    Raises:
        PlanError: a pattern or the whole choice matches no layer, a rank is above its matrix, a
            budget is out of reach.
        ConfigError: a MACs budget without the shape of the network's input.
    """
    skipped = {x.name: excluded(x, settings) or by.unknown(x) for x in layers}
    chosen = [layer for layer in layers if not skipped[layer.name]]
    _check_patterns(layers, chosen, settings)
    if settings.source in CHOOSERS:
        choices = CHOOSERS[settings.source](chosen, settings)
    else:
        choices = _by_budget(chosen, settings, size, losses or by.losses, by)
    entries = []
    for layer in chosen:
        choice = choices[layer.name]
        if isinstance(choice, tuple):
            choice = _worthwhile(layer, choice, settings)
        if isinstance(choice, str):
            skipped[layer.name] = choice
        else:
            branches = _branches(layer, settings)
            entries.append(LayerPlan(layer.name, layer.kind, layer.shape, choice, branches))
    record = settings.model_dump(mode="json", exclude_unset=True)
    return Planned(LowRankPlan(tuple(entries), record), {n: r for n, r in skipped.items() if r})


def excluded(layer: Layer, settings: LowRankSettings) -> str:
    """Return why a layer is not among those to be decomposed; empty if it is."""
    if layer.reason:
        return layer.reason
    if layer.kind not in settings.layers:
        return f"{layer.kind} layers are not asked for"
    pattern = matching(layer.name, settings.exclude)
    if pattern is not None:
        return f"excluded by '{pattern}'"
    return "" if matching(layer.name, settings.include) is not None else "not included"


def _check_patterns(
    layers: Sequence[Layer], chosen: Sequence[Layer], settings: LowRankSettings
) -> None:
    names = [layer.name for layer in layers]
    if not names:
        raise PlanError("lowrank: the network has no layer with a weight matrix or kernel")
    given = {"include": settings.include, "ranks": tuple(settings.ranks or ())}
    if "exclude" in settings.model_fields_set:  # the default suits ResNets, and hurts nobody else
        given["exclude"] = settings.exclude
    for key, patterns in given.items():
        for pattern in patterns:
            if not any(fnmatchcase(name, pattern) for name in names):
                hint = nearest(pattern, names) or f"; the first layer is '{names[0]}'"
                raise PlanError(f"lowrank.{key}: '{pattern}' matches no layer{hint}")
    if not chosen:
        first = f"'{names[0]}': {excluded(layers[0], settings)}"
        raise PlanError(
            f"lowrank: include, exclude and layers leave none of {len(names)} layers ({first})"
        )


def _branches(layer: Layer, settings: LowRankSettings) -> int:
    return settings.branches if layer.kind == "conv" else 1


def _divisor(layer: Layer, settings: LowRankSettings) -> int:
    """Return what a layer's ranks are multiples of; every branch has as many channels."""
    return math.lcm(settings.divisor, _branches(layer, settings))


def _worthwhile(layer: Layer, rank: Shape, settings: LowRankSettings) -> Choice:
    """Return the aligned rank, or why it would not make the layer smaller."""
    divisor = _divisor(layer, settings)
    aligned = tuple(align_rank(r, divisor) for r in rank)
    if min(rank) < 1:
        return "even rank 1 is above what is asked for"
    if min(aligned) < 1:
        return f"rank {_text(rank)} rounds down to 0 at divisor {divisor}"
    before = weights_of(layer.kind, layer.shape)
    after = weights_of(layer.kind, layer.shape, aligned, _branches(layer, settings))
    if after >= before:
        return f"at rank {_text(aligned)} its factors have {after} weights, the layer {before}"
    return aligned


def _by_budget(
    layers: Sequence[Layer],
    settings: LowRankSettings,
    size: NetworkSize,
    losses: Losses,
    by: Criterion,
) -> dict[str, Choice]:
    key = settings.source
    share, total = getattr(settings, key), getattr(size, key)
    if total is None:
        raise ConfigError(
            f"lowrank.{key} = {share}: needs the shape of the network's input; pass input_shape"
        )
    candidates = [_candidate(x, settings, size, list(map(losses, by.spectra(x)))) for x in layers]
    fixed = total - sum(candidate.dense_cost for candidate in candidates)
    least = fixed + reachable(candidates)
    if least > share * total:
        raise PlanError(
            f"lowrank.{key} = {share}: at most {_amount(key, int(share * total))} of "
            f"{_amount(key, total)}, but {_amount(key, least)} ({least / total:.3f}) is the least "
            "that the chosen layers can reach; raise it, exclude fewer layers, or lower divisor"
        )
    chosen = allocate(candidates, int(share * total) - fixed)
    stays = dict.fromkeys(chosen, "it costs least to keep it: the budget is met without")
    if key == "macs":
        stays |= {x.name: NOT_CALLED for x in layers if x.name not in size.positions}
    return {name: rank if rank is not None else stays[name] for name, rank in chosen.items()}


def _candidate(
    layer: Layer,
    settings: LowRankSettings,
    size: NetworkSize,
    losses: Sequence[NDArray[np.float64]],
) -> Candidate:
    """Return all aligned ranks of a layer with their costs and losses, a row of them a mode."""
    divisor = _divisor(layer, settings)
    if layer.kind == "conv":
        # tails of both modes bound the loss; energies kept multiply, close to what sweeps reach
        first, second = losses
        S, C = layer.shape[:2]
        r1, r2 = np.meshgrid(_multiples(C, divisor), _multiples(S, divisor), indexing="ij")
        ranks = np.stack([r1.ravel(), r2.ravel()], axis=1)
        lost = _at(first, ranks[:, 0]) + _at(second, ranks[:, 1])
    else:
        ranks = _multiples(min(layer.shape[:2]), divisor)[:, None]
        lost = _at(losses[0], ranks[:, 0])
    branches = _branches(layer, settings)
    dense = weights_of(layer.kind, layer.shape)
    smaller = weights_of(layer.kind, layer.shape, ranks.T, branches) < dense
    if settings.source == "latency":
        smaller &= size.times.get(layer.name, _NEVER).knows(ranks)
    ranks, lost = ranks[smaller], lost[smaller]
    cost = _cost(layer, settings, size)
    return Candidate(layer.name, int(cost(None)), np.asarray(cost(ranks.T)), lost, ranks)


def _cost(layer: Layer, settings: LowRankSettings, size: NetworkSize) -> Callable[[Any], Any]:
    branches = _branches(layer, settings)
    if settings.source == "params":
        return lambda rank: weights_of(layer.kind, layer.shape, rank, branches)
    if settings.source == "latency":
        return size.times.get(layer.name, _NEVER).at
    # a layer that the forward never reached costs nothing, and saves nothing
    positions = size.positions.get(layer.name, Positions(0, 0))
    return lambda rank: macs_of(layer.kind, layer.shape, positions, rank, branches)


def _amount(key: str, amount: int) -> str:
    return f"{amount / 1e6:.4g} ms" if key == "latency" else str(amount)


def _multiples(largest: int, divisor: int) -> np.ndarray:
    return np.arange(divisor, largest + 1, divisor)


def _at(losses: np.ndarray, ranks: np.ndarray) -> np.ndarray:
    # an unfolding may have fewer singular values than rows: beyond them nothing is lost
    return losses[np.minimum(ranks, len(losses)) - 1]


def _text(rank: Shape) -> str:
    return str(rank[0] if len(rank) == 1 else list(rank))


# of a layer that the forward never reached
_NEVER = LayerTimes(0, {})
