"""One row of the speed table, measured in this process: the dense network and the changed one."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import mindspore as ms
import numpy as np
from mindspore import Tensor, nn

from ms_eff import models, runtime
from ms_eff.bench.counts import count, totals
from ms_eff.bench.modes import inference, same_weights_after, training
from ms_eff.bench.profiler import kernels_by_type
from ms_eff.bench.steps import plain_step
from ms_eff.bench.timers import Comparison, Work, against, compare
from ms_eff.deploy.folding import fold_norms
from ms_eff.methods.lowrank.blocks import find_blocks
from ms_eff.methods.lowrank.freezing import Which, frozen_factors, trained_weights
from ms_eff.methods.lowrank.layers import find_layers, network_params
from ms_eff.methods.lowrank.plan import LayerPlan, LowRankPlan
from ms_eff.methods.lowrank.planner import NetworkSize, make_plan
from ms_eff.methods.lowrank.rebuilding import stand_in
from ms_eff.methods.lowrank.search import search_ranks
from ms_eff.methods.lowrank.settings import LowRankSettings, make_settings
from ms_eff.methods.lowrank.target_plan import targeted_plan
from ms_eff.train.settings import TrainSettings

if TYPE_CHECKING:
    from ms_eff.bench.lowrank_speed import Case

__all__ = ["measure"]

_WARMUP = 3
# operators whose work a decomposition divides; the others go by the size of the activations
_PRODUCTS = ("Conv2D", "Conv2DBackpropInput", "Conv2DBackpropFilter", "MatMul", "BatchMatMul")
_PHASES: tuple[Which, ...] = ("outer", "inner")


def measure(case: Case, batch: int, size: int, runs: int) -> dict[str, Any]:
    """Build, plan and time one row; shapes alone decide the speed, so nothing is decomposed.

    Args:
        case: what to measure.
        batch: images a call.
        size: of the square images, in pixels.
        runs: timed rounds.
    """
    runtime.setup(runtime.DeviceSettings())
    dense = models.build(case.model, **case.args)
    shape = (batch, 3, size, size)
    settings = make_settings(case.settings)
    began = time.perf_counter()
    plan = _plan(dense, settings, shape)
    planning = time.perf_counter() - began
    changed = stand_in(dense, plan)
    dense_count, changed_count = (totals(count(net, (1, *shape[1:]))) for net in (dense, changed))
    row = {
        "plan": plan.to_json(),
        "planning_seconds": round(planning, 1),
        "decomposed": len(plan.layers),
        "params": {"dense": dense_count["params"], "changed": changed_count["params"]},
        "macs": {"dense": dense_count["macs"], "changed": changed_count["macs"]},
    }
    bound = dense_count["macs"] / changed_count["macs"]
    row["inference"] = _inference(dense, changed, shape, runs, bound)
    trained = _trained_shares(changed, shape) if case.freeze else [1.0]
    # forward and the gradients of the inputs always, those of the weights for what is trained
    work = [(2 + share) / 3 / bound for share in trained]
    row["training"] = _training(dense, changed, shape, runs, case.freeze, len(work) / sum(work))
    return row


def _plan(dense: nn.Cell, settings: LowRankSettings, shape: tuple[int, ...]) -> LowRankPlan:
    if settings.merge is not None:
        return _merge_plan(dense, settings.merge, settings.merge_bias)
    if settings.target is not None:
        return targeted_plan(dense, settings, shape, ms.float32)[0].plan
    if settings.rank_search is not None:
        return search_ranks(dense, settings, input_shape=shape)[0]
    return make_plan(find_layers(dense), settings, NetworkSize(network_params(dense))).plan


def _merge_plan(dense: nn.Cell, share: float, bias: bool) -> LowRankPlan:
    return LowRankPlan(
        tuple(
            LayerPlan(b.name, "bottleneck", b.shape, (int(share * b.shape[0]),) * 2, bias=bias)
            for b in find_blocks(dense)
        )
    )


def _inference(
    dense: nn.Cell, changed: nn.Cell, shape: tuple[int, ...], runs: int, bound: float
) -> dict[str, Any]:
    """Time the forward as trained, and with all norms folded where there are any to fold."""
    networks = {"dense": dense, "changed": changed}
    if any(isinstance(cell, nn.BatchNorm2d) for _, cell in dense.cells_and_names()):
        one = (1, *shape[1:])
        networks |= {f"{name} folded": fold_norms(net, one)[0] for name, net in networks.items()}
    inputs = _images(shape)
    with ExitStack() as borrowed:
        for network in networks.values():
            borrowed.enter_context(inference(network))
        work = {name: _call(network, inputs) for name, network in networks.items()}
        found = compare(work, _WARMUP, runs)
        row = _summary(found, "dense", ["changed"], bound, _kernels(work, "dense", "changed"))
    if "dense folded" in networks:
        row["folded"] = _summary(found, "dense folded", ["changed folded"], bound)
    return row


def _training(
    dense: nn.Cell, changed: nn.Cell, shape: tuple[int, ...], runs: int, freeze: bool, bound: float
) -> dict[str, Any]:
    """Time the step of SGD with momentum and weight decay; of both phases, if factors rest."""
    settings, rounds = TrainSettings(optimizer="momentum"), _WARMUP + runs
    inputs = _images(shape), Tensor(np.arange(shape[0]), ms.int32)
    with ExitStack() as borrowed:
        for network in (dense, changed):
            borrowed.enter_context(same_weights_after(network))
            borrowed.enter_context(training(network))
        steps = {name: plain_step(net, settings, rounds)
                 for name, net in (("dense", dense), ("unfrozen", changed))}  # fmt: skip
        for phase in _PHASES if freeze else ():
            weights = trained_weights(changed, tuple(changed.trainable_params()), phase)
            steps[phase] = plain_step(changed, settings, rounds, weights)
        for step in steps.values():
            step.set_train(True)
        work = {name: _call(step, *inputs) for name, step in steps.items()}
        found = compare(work, _WARMUP, runs)
        kernels = _kernels(work, "dense", "outer" if freeze else "unfrozen")
        row = _summary(found, "dense", list(_PHASES) if freeze else ["unfrozen"], bound, kernels)
    if freeze:
        row["phases"] = {
            name: {**found.summary(name).to_dict(), "against_unfrozen": found.speedup(
                name, "unfrozen").to_dict()}
            for name in ("unfrozen", *_PHASES)
        }  # fmt: skip
    return row


def _summary(
    found: Comparison,
    baseline: str,
    names: Sequence[str],
    bound: float,
    kernels: Mapping[str, Mapping[str, float]] | None = None,
) -> dict[str, Any]:
    """Compare with the dense network; several names are phases of equal length, taken in turn."""
    row = against(found, bound, baseline, names)
    if kernels is not None:
        row["kernels_ms"] = {name: _largest(taken) for name, taken in kernels.items()}
        row["limit"] = _limit(kernels, bound)
    return row


def _limit(kernels: Mapping[str, Mapping[str, float]], bound: float) -> float:
    """Return the speed-up if products fell in proportion to their MACs and nothing else changed."""
    dense = kernels["dense"]
    products = sum(taken for kind, taken in dense.items() if kind in _PRODUCTS)
    whole = sum(dense.values())
    return whole / (products / bound + whole - products)


def _kernels(work: Mapping[str, Work], dense: str, changed: str) -> dict[str, dict[str, float]]:
    return {"dense": kernels_by_type(work[dense]), "changed": kernels_by_type(work[changed])}


def _largest(taken: Mapping[str, float], most: int = 10) -> dict[str, float]:
    kept = dict(list(taken.items())[:most])
    return {**kept, "others": sum(taken.values()) - sum(kept.values())}


def _trained_shares(network: nn.Cell, shape: tuple[int, ...]) -> list[float]:
    """Return, phase by phase, the share of all MACs that lies in layers that train."""
    rows = count(network, (1, *shape[1:]))
    whole = sum(row.macs for row in rows)
    owners = {id(cell.weight): name for name, cell in network.cells_and_names()
              if "weight" in cell._params}  # fmt: skip
    macs = {row.name: row.macs for row in rows}
    return [
        1 - sum(macs[owners[id(weight)]] for weight in frozen_factors(network, phase)) / whole
        for phase in _PHASES
    ]


def _images(shape: tuple[int, ...]) -> Tensor:
    return Tensor(np.random.default_rng(0).standard_normal(shape, dtype=np.float32))


def _call(function: Callable[..., Any], *arguments: Tensor) -> Work:
    return lambda: function(*arguments)
