"""Layer merging on a network: bottlenecks become narrower, not longer (arXiv:2407.20266).

A merged block is an ordinary `Bottleneck` with ranks for its inner widths and biases on conv1 and
conv3, so weights keep their names, and export and counts know it already.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction
from typing import Any

import numpy as np
from mindspore import nn

from ms_eff.bench.counts import count
from ms_eff.errors import ConfigError
from ms_eff.methods.lowrank.blocks import Block, check_merge_plan, find_blocks, plan_merge
from ms_eff.methods.lowrank.merged_cells import (
    empty_block,
    fill_block,
    merged_weights,
    pairs_of,
    shifted_norm,
)
from ms_eff.methods.lowrank.plan import LayerPlan, LowRankPlan
from ms_eff.methods.lowrank.reports import LayerReport
from ms_eff.methods.lowrank.statistics import estimate_statistics
from ms_eff.methods.replace import replaced
from ms_eff.models.resnet import Bottleneck

__all__ = ["merge_bottlenecks", "rebuild_merged"]

_SHARE = 0.5  # the paper's


def merge_bottlenecks(
    network: nn.Cell,
    plan: LowRankPlan | Mapping[str, Any] | None = None,
    *,
    share: float | None = None,
    rank: int | None = None,
    branches: int | None = None,
    divisor: int | None = None,
    bias: bool | None = None,
    include: Sequence[str] | None = None,
    exclude: Sequence[str] | None = None,
    calibration: Iterable[np.ndarray] | None = None,
    input_shape: Sequence[int] | None = None,
) -> tuple[nn.Cell, LowRankPlan, list[LayerReport]]:
    """Return a copy of a network with its bottlenecks merged (arXiv:2407.20266).

    Only the 3x3 of each `ms_eff.models.resnet.Bottleneck` is Tucker-decomposed; its outer factors
    are multiplied into conv1 and conv3. The product spans the places of a normalisation and a ReLU,
    so it is **not** function-preserving. Ours where the paper is silent: bn1 is folded into conv1
    and bn2 into the last factor, the ReLUs at these joints are dropped, a fresh normalisation and a
    ReLU follow conv1 and the core, bn3 stays, all statistics are measured anew; then fine-tune.

    Args:
        network: stays as it is.
        plan: an earlier plan or its JSON, in place of the seven wishes that follow.
        share: rank of a 3x3 convolution as a share of its width; the paper's 0.5 if None.
        rank: the rank itself, in place of `share`.
        branches: groups of the core (section 6 of the paper), 1 if None; ranks are rounded down to
            a multiple.
        divisor: ranks are rounded down to a multiple; 1 if None.
        bias: conv1 and conv3 get one, as the paper's parameter counts have it (None). False is
            ours: the normalisations behind them take any constant away, so the shifts go into their
            means and the function stays the same, without two additions a block and their
            gradients.
        include: only blocks that match one of these name patterns; all if None.
        exclude: never these; none if None.
        calibration: batches of inputs for the statistics of all normalisations. Without it the
            fresh ones start at mean 0 and variance 1, and the network must be trained before use.
        input_shape: of the network's input, batch axis first; the report has no MACs without it.

    Returns:
        The new network, the plan, and one report a block (its three convolutions together; biases
        and normalisations are not counted), skipped ones with the reason.

    Raises:
        PlanError: no block can be merged, or the plan does not fit the network.
        ConfigError: a rank, share, or number of branches out of range; both rank and share; wishes
            beside a plan.
    """
    blocks = find_blocks(network)
    wishes = {
        "share": share, "rank": rank, "branches": branches, "divisor": divisor, "bias": bias,
        "include": include, "exclude": exclude,
    }  # fmt: skip
    if plan is None:
        plan, skipped = _planned(blocks, {k: v for k, v in wishes.items() if v is not None})
    else:
        said = [name for name, value in wishes.items() if value is not None]
        if said:
            raise ConfigError(
                f"merge_bottlenecks: a plan is carried out as written; drop {', '.join(said)}"
            )
        plan = plan if isinstance(plan, LowRankPlan) else LowRankPlan.from_json(plan)
        check_merge_plan(plan, blocks)
        skipped = {}
    macs = _macs(network, input_shape)
    entries = {entry.name: entry for entry in plan.layers}
    swaps, report = [], []
    for block in blocks:
        entry, error = entries.get(block.name), 0.0
        if entry is not None:
            merged = empty_block(block.cell, entry)
            weights = merged_weights(block.cell, entry)
            fill_block(merged, weights)
            if not entry.bias:
                merged["bn3"] = shifted_norm(merged["bn1"], block.cell.bn3, weights)
            swaps += pairs_of(block.cell, merged)
            error = weights.error
        reason = skipped.get(block.name, block.reason or "not in the plan")
        report.append(_report(block, entry, error, reason, macs))
    result = replaced(network, swaps)
    if calibration is not None:
        estimate_statistics(result, calibration)
    return result, plan, report


def rebuild_merged(network: nn.Cell, plan: LowRankPlan) -> nn.Cell:
    """Return a copy with the shapes of a merged network; the merged kernels are zeros until loaded.

    Raises:
        PlanError: the plan does not fit the network.
    """
    blocks = find_blocks(network)
    check_merge_plan(plan, blocks)
    cells = {block.name: block.cell for block in blocks}
    swaps = []
    for entry in plan.layers:
        swaps += pairs_of(cells[entry.name], empty_block(cells[entry.name], entry))
    return replaced(network, swaps)


def _planned(
    blocks: Sequence[Block], wishes: Mapping[str, Any]
) -> tuple[LowRankPlan, dict[str, str]]:
    """Check what was asked for, and plan it."""
    if "share" in wishes and "rank" in wishes:
        raise ConfigError("merge_bottlenecks: share and rank say it twice; drop one")
    share = wishes.get("share", _SHARE)
    if not 0 < share <= 1:
        raise ConfigError(f"merge_bottlenecks: share = {share}: it should be above 0, at most 1")
    for name in ("rank", "branches", "divisor"):
        if wishes.get(name, 1) < 1:
            raise ConfigError(
                f"merge_bottlenecks: {name} = {wishes[name]}: it should be at least 1"
            )
    branches = wishes.get("branches", 1)
    return plan_merge(
        blocks,
        share,
        wishes.get("rank"),
        branches,
        wishes.get("bias", True),
        math.lcm(branches, wishes.get("divisor", 1)),
        wishes.get("include", ("*",)),
        wishes.get("exclude", ()),
    )


def _macs(network: nn.Cell, input_shape: Sequence[int] | None) -> dict[str, int]:
    if input_shape is None:
        return {}
    return {row.name: row.macs for row in count(network, tuple(input_shape))}


def _report(
    block: Block, entry: LayerPlan | None, error: float, reason: str, macs: Mapping[str, int]
) -> LayerReport:
    weights = {
        f"{block.name}.{name}": math.prod(conv.weight.shape)
        for name, conv in block.cell.name_cells().items()
        if isinstance(conv, nn.Conv2d)
    }
    # each convolution's share of what it was: MACs fall with its weights
    shares = dict.fromkeys(weights, Fraction(1))
    if entry is not None:
        (S, C), (r1, r2) = entry.shape[:2], entry.rank
        parts = (Fraction(r1, C), Fraction(r1 * r2, C * S * entry.branches), Fraction(r2, S))
        shares = dict(zip(weights, parts, strict=True))
    known = macs.keys() >= weights.keys()
    return LayerReport(
        layer=block.name,
        kind="bottleneck" if isinstance(block.cell, Bottleneck) else type(block.cell).__name__,
        shape=block.shape,
        rank=entry.rank if entry else None,
        params_before=sum(weights.values()),
        params_after=int(sum(size * shares[name] for name, size in weights.items())),
        macs_before=sum(macs[name] for name in weights) if known else None,
        macs_after=int(sum(macs[name] * shares[name] for name in weights)) if known else None,
        error=error,
        decomposed=entry is not None,
        reason="" if entry else reason,
    )
