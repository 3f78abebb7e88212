"""Low-rank surgery on a network: find the layers, make or take a plan, put the factors in."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import mindspore as ms
from mindspore import nn

from ms_eff.errors import ConfigError, PlanError
from ms_eff.methods.lowrank.calibrate import Batch, Loss, criterion_of, make_criterion
from ms_eff.methods.lowrank.cells import LowRankCell
from ms_eff.methods.lowrank.costs import macs_of, weights_of
from ms_eff.methods.lowrank.criteria import Criterion
from ms_eff.methods.lowrank.factors import Factors, empty_like, factorize, fill
from ms_eff.methods.lowrank.layers import Layer, find_layers, layer_positions, network_params
from ms_eff.methods.lowrank.plan import LayerPlan, LowRankPlan
from ms_eff.methods.lowrank.planner import NetworkSize, Planned, make_plan
from ms_eff.methods.lowrank.rank_search import RankChoice
from ms_eff.methods.lowrank.rebuilding import check_plan, swapped
from ms_eff.methods.lowrank.reports import LayerReport
from ms_eff.methods.lowrank.search import searched
from ms_eff.methods.lowrank.settings import SOURCES, LowRankSettings, make_settings
from ms_eff.methods.lowrank.target_plan import targeted_plan
from ms_eff.methods.lowrank.whole_times import NetworkTimes
from ms_eff.train.precision import in_precision

__all__ = ["Decomposed", "LayerReport", "apply_lowrank", "branch", "decompose"]

Shape = tuple[int, ...]


def apply_lowrank(
    network: nn.Cell,
    plan: LowRankPlan | LowRankSettings | Mapping[str, Any] | str | Path | None = None,
    *,
    input_shape: Sequence[int] | None = None,
    input_dtype: Any = ms.float32,
    calibration: Iterable[Batch] | None = None,
    loss: Loss | None = None,
    precision: str = "O0",
    **settings: Any,
) -> tuple[nn.Cell, LowRankPlan, list[LayerReport]]:
    """Return a copy of a network with low-rank factors in its layers' place (arXiv:2407.20266).

    Dense layers, convolutions and embeddings anywhere in the network, MindFormers' `Linear` too;
    the given network stays as it is.

    Args:
        network: any cell; it may itself be the layer.
        plan: a plan, the JSON of one or its file; or settings, as an object or a mapping. Or None
            and settings by keyword, as in `apply_lowrank(network, ratio=2.0)`.
        input_shape: of the network's input, batch axis first; `macs` and `latency` budgets,
            `rank_search` and `target` need it, and the report has no MACs without it.
        input_dtype: of that input; an integer type for token ids.
        calibration: batches of NumPy (inputs, labels) for the criteria `activation` and
            `two_sided`; labels of None are drawn from the network's predictions.
        loss: (outputs, labels) -> mean over the batch, for `two_sided`; cross entropy if None.
        precision: what is timed, where the settings say so: `O0` the network as it is, `O2` or
            `O3` in mixed precision, as `train.precision` says.
        **settings: see `LowRankSettings`.

    Returns:
        The new network, the plan that was carried out, and one report a layer, skipped ones with
        the reason. With `target`, the very network that was given where no layer helps.

    Raises:
        ConfigError: a setting is unknown or out of range.
        PlanError: the plan or the settings do not fit the network.
        DataError: the network does not take the calibration data.
        SetupError: this device cannot run a layer in what it computes in.

    >>> network = nn.SequentialCell(nn.Dense(64, 32), nn.ReLU(), nn.Dense(32, 10))
    >>> compressed, plan, report = apply_lowrank(network, ratio=2.0)
    >>> [(row.layer, row.rank) for row in report]
    [('0', (10,)), ('2', (3,))]
    """
    done = decompose(
        network, plan, input_shape, input_dtype, calibration, loss, precision, settings
    )
    return done.network, done.plan, done.report


@dataclass(frozen=True)
class Decomposed:
    """What `apply_lowrank` returns, and the times of the whole network where they matter."""

    network: nn.Cell
    plan: LowRankPlan
    report: list[LayerReport]
    whole: NetworkTimes | None


def decompose(
    network: nn.Cell,
    plan: LowRankPlan | LowRankSettings | Mapping[str, Any] | str | Path | None = None,
    input_shape: Sequence[int] | None = None,
    input_dtype: Any = ms.float32,
    calibration: Iterable[Batch] | None = None,
    loss: Loss | None = None,
    precision: str = "O0",
    settings: Mapping[str, Any] | None = None,
) -> Decomposed:
    """Do what `apply_lowrank` does; arguments and exceptions are the same."""
    layers = find_layers(network)
    wanted = _wanted(plan, settings or {})
    size = NetworkSize(network_params(network))
    if input_shape is not None:
        positions, macs = layer_positions(network, layers, tuple(input_shape), input_dtype)
        size = NetworkSize(size.params, macs, positions)
    choices: Mapping[str, RankChoice] = {}
    by = _criterion(network, layers, wanted, calibration, loss)
    if isinstance(wanted, LowRankPlan):
        if not wanted.layers:
            raise PlanError("plan: it names no layer, and would leave the network as it is")
        check_plan(wanted, layers, by)
        planned = Planned(wanted, {})
    else:
        planned, choices = _planned(
            network, layers, wanted, size, input_shape, input_dtype, by, precision
        )
    entries = {entry.name: entry for entry in planned.plan.layers}
    cells: dict[str, LowRankCell] = {}
    report = []
    for layer in layers:
        entry, factors = entries.get(layer.name), None
        if entry is not None:
            cells[layer.name] = empty_like(layer, entry.rank, entry.branches)
            factors = factorize(layer, entry.rank, entry.branches, by)
            fill(cells[layer.name], factors.weights)
        reason = planned.skipped.get(layer.name, layer.reason or "not in the plan")
        report.append(_report(layer, entry, factors, reason, size, by.name))
    targeted = isinstance(wanted, LowRankSettings) and wanted.target is not None
    same = targeted and not entries  # nothing helps: the very object comes back
    result = network if same else swapped(network, layers, cells)
    return Decomposed(result, planned.plan, _with_search(report, choices), planned.whole)


def branch(
    network: nn.Cell, branches: int = 2, **settings: Any
) -> tuple[nn.Cell, LowRankPlan, list[LayerReport]]:
    """Return a copy whose k x k convolutions are sums of N parallel Tucker branches (2407.20266).

    Each branch has 1 / N of the ranks; together they are one Tucker triple with a core of N groups,
    which has N times fewer weights. The blocks are those on the diagonal of the full core: an
    **approximation**, exact only for N = 1 or a core that is block-diagonal; fine-tune afterwards.
    On bottlenecks, `ms_eff.merge_bottlenecks(network, branches=N)` does both.

    Args:
        network: any cell; it stays as it is.
        branches: N; ranks are rounded down to multiples of it.
        **settings: see `apply_lowrank`; only convolutions are decomposed unless `layers` is given,
            and `ratio=2.0` is the source of ranks unless another is.

    Returns:
        As `apply_lowrank`.

    Raises:
        ConfigError: a setting is unknown or out of range.
        PlanError: the settings do not fit the network.

    >>> network = nn.SequentialCell(nn.Conv2d(16, 16, 3), nn.ReLU())
    >>> branch(network, 2, rank=6)[0][0].core.weight.shape
    (6, 3, 3, 3)
    """
    given: dict[str, Any] = {"layers": ("conv",), **settings, "branches": branches}
    if not any(source in given for source in (*SOURCES, "budget")):
        given["ratio"] = 2.0
    return apply_lowrank(network, **given)


def _criterion(
    network: nn.Cell,
    layers: Sequence[Layer],
    wanted: LowRankPlan | LowRankSettings,
    calibration: Iterable[Batch] | None,
    loss: Loss | None,
) -> Criterion:
    """Return what the plan or the settings are to be carried out by."""
    if isinstance(wanted, LowRankSettings):
        return criterion_of(network, layers, wanted, calibration, loss)
    names = {entry.name for entry in wanted.layers}
    chosen = [layer for layer in layers if layer.name in names and not layer.reason]
    samples = wanted.calibration_samples
    return make_criterion(network, chosen, wanted.criterion, calibration, samples, loss)


def _planned(
    network: nn.Cell,
    layers: Sequence[Layer],
    settings: LowRankSettings,
    size: NetworkSize,
    input_shape: Sequence[int] | None,
    input_dtype: Any,
    by: Criterion,
    precision: str,
) -> tuple[Planned, Mapping[str, RankChoice]]:
    """Make the plan, by latency where the settings say so; return what was timed besides."""
    by_time = next((n for n in ("target", "latency", "rank_search") if getattr(settings, n)), None)
    if by_time is None:
        return make_plan(layers, settings, size, by=by), {}
    if input_shape is None:
        raise ConfigError(f"lowrank.{by_time}: needs the network's input; pass input_shape")
    timed = in_precision(network, precision)
    if by_time == "target":
        return targeted_plan(timed, settings, input_shape, input_dtype, by=by)[:2]
    return searched(timed, settings, input_shape, input_dtype, by=by)


def _with_search(
    report: list[LayerReport], searched: Mapping[str, RankChoice]
) -> list[LayerReport]:
    return [
        replace(row, search=searched[row.layer].to_json()) if row.layer in searched else row
        for row in report
    ]


def _wanted(plan: Any, settings: Mapping[str, Any]) -> LowRankPlan | LowRankSettings:
    if plan is not None and settings:
        raise ConfigError(
            f"apply_lowrank: a plan and {', '.join(settings)} were given; give one or the other"
        )
    if isinstance(plan, (str, Path)):
        return LowRankPlan.load(plan)
    if isinstance(plan, Mapping) and "format" in plan:
        return LowRankPlan.from_json(plan)
    if isinstance(plan, LowRankPlan):
        return plan
    chosen = plan if isinstance(plan, LowRankSettings) else make_settings(plan or settings)
    if chosen.merge is not None:
        raise ConfigError(
            f"apply_lowrank: merge = {chosen.merge}: it works on blocks, not on layers; call "
            f"ms_eff.merge_bottlenecks(network, share={chosen.merge})"
        )
    return LowRankPlan.load(chosen.plan) if chosen.plan is not None else chosen


def _report(
    layer: Layer,
    entry: LayerPlan | None,
    factors: Factors | None,
    reason: str,
    size: NetworkSize,
    criterion: str = "weight",
) -> LayerReport:
    rank, branches = (entry.rank, entry.branches) if entry else (None, 1)
    before, macs = weights_of(layer.kind, layer.shape), None
    after, macs_after = before, None
    if rank is not None:
        after = weights_of(layer.kind, layer.shape, rank, branches)
    if layer.name in size.positions:
        positions = size.positions[layer.name]
        macs = macs_after = macs_of(layer.kind, layer.shape, positions)
        if rank is not None:
            macs_after = macs_of(layer.kind, layer.shape, positions, rank, branches)
    return LayerReport(
        layer=layer.name,
        kind=layer.kind,
        shape=layer.shape,
        rank=rank,
        params_before=before,
        params_after=after,
        macs_before=macs,
        macs_after=macs_after,
        error=factors.error if factors else 0.0,
        decomposed=rank is not None,
        reason="" if rank is not None else reason,
        criterion=criterion,
        criterion_error=factors.criterion_error if factors else None,
    )
