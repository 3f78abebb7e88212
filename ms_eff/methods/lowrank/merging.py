"""Layer merging on a network: bottlenecks become narrower, not longer (arXiv:2407.20266).

A merged block is an ordinary `Bottleneck` with ranks for its inner widths and biases on conv1 and
conv3, so weights keep their names, and export and counts know it already.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from fractions import Fraction
from typing import Any

import numpy as np
from mindspore import Tensor, nn

from ms_eff.bench.counts import count
from ms_eff.errors import ConfigError, PlanError, nearest
from ms_eff.methods.lowrank.merge import Affine, MergedWeights, folded_norm, merge_weights
from ms_eff.methods.lowrank.plan import LayerPlan, LowRankPlan
from ms_eff.methods.lowrank.reports import LayerReport
from ms_eff.methods.lowrank.statistics import estimate_statistics
from ms_eff.methods.replace import replaced
from ms_eff.models.resnet import BasicBlock, Bottleneck

__all__ = ["Block", "find_blocks", "merge_bottlenecks", "rebuild_merged"]

_BASIC = "a basic block has no 1x1 convolutions beside its 3x3 ones to take their outer factors"


@dataclass(frozen=True)
class Block:
    """A residual block; `reason` says why it cannot be merged, if it cannot."""

    name: str
    cell: nn.Cell
    reason: str = ""

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape (S, C, kh, kw) of its 3x3 convolution; empty where that is no plain one."""
        inner = self.cell.conv2
        return tuple(inner.weight.shape) if type(inner) is nn.Conv2d else ()


def merge_bottlenecks(
    network: nn.Cell,
    plan: LowRankPlan | Mapping[str, Any] | None = None,
    *,
    share: float = 0.5,
    rank: int | None = None,
    branches: int = 1,
    divisor: int = 1,
    bias: bool = True,
    include: Sequence[str] = ("*",),
    exclude: Sequence[str] = (),
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
        plan: an earlier plan or its JSON, in place of ranks and patterns.
        share: rank of a 3x3 convolution as a share of its width; the paper's is 0.5.
        rank: the rank itself, in place of `share`.
        branches: groups of the core (section 6 of the paper); ranks are rounded down to a multiple.
        divisor: ranks are rounded down to a multiple.
        bias: conv1 and conv3 get one, as the paper's parameter counts have it. False is ours: the
            normalisations behind them take any constant away, so the shifts go into their means
            and the function stays the same, without two additions a block and their gradients.
        include: only blocks that match one of these name patterns.
        exclude: never these.
        calibration: batches of inputs for the statistics of all normalisations. Without it the
            fresh ones start at mean 0 and variance 1, and the network must be trained before use.
        input_shape: of the network's input, batch axis first; the report has no MACs without it.

    Returns:
        The new network, the plan, and one report a block (its three convolutions together; biases
        and normalisations are not counted), skipped ones with the reason.

    Raises:
        PlanError: no block can be merged, or the plan does not fit the network.
        ConfigError: a rank, share, or number of branches out of range.
    """
    blocks = find_blocks(network)
    if plan is None:
        _check_wishes(share, rank, branches, divisor)
        plan, skipped = _planned(
            blocks, share, rank, branches, bias, math.lcm(branches, divisor), include, exclude
        )
    else:
        plan = plan if isinstance(plan, LowRankPlan) else LowRankPlan.from_json(plan)
        _check_plan(plan, blocks)
        skipped = {}
    macs = _macs(network, input_shape)
    entries = {entry.name: entry for entry in plan.layers}
    swaps, report = [], []
    for block in blocks:
        entry, error = entries.get(block.name), 0.0
        if entry is not None:
            merged = _empty(block.cell, entry)
            weights = _weights(block.cell, entry)
            _fill(merged, weights)
            if not entry.bias:
                merged["bn3"] = _shifted(merged["bn1"], block.cell.bn3, weights)
            swaps += _pairs(block.cell, merged)
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
    _check_plan(plan, blocks)
    cells = {block.name: block.cell for block in blocks}
    swaps = []
    for entry in plan.layers:
        swaps += _pairs(cells[entry.name], _empty(cells[entry.name], entry))
    return replaced(network, swaps)


def find_blocks(network: nn.Cell) -> list[Block]:
    """Return every residual block of `ms_eff.models.resnet`, in the order of the network."""
    found = []
    for name, cell in network.cells_and_names():
        if isinstance(cell, BasicBlock):
            found.append(Block(name, cell, _BASIC))
        elif isinstance(cell, Bottleneck):
            found.append(Block(name, cell, _obstacle(cell)))
    return found


def _obstacle(cell: Bottleneck) -> str:
    for name, taps in (("conv1", 1), ("conv2", None), ("conv3", 1)):
        conv = getattr(cell, name)
        if type(conv) is not nn.Conv2d:
            return f"its {name} is a {type(conv).__name__}; merge before decomposing"
        if conv.group > 1:
            return f"its {name} has {conv.group} groups"
        if taps and (tuple(conv.kernel_size) != (1, 1) or np.any(conv.padding)):
            return f"its {name} is no plain 1x1 convolution"
    return ""


def _check_wishes(share: float, rank: int | None, branches: int, divisor: int) -> None:
    if not 0 < share <= 1:
        raise ConfigError(f"merge_bottlenecks: share = {share}: it should be above 0, at most 1")
    for name, value in (("rank", rank), ("branches", branches), ("divisor", divisor)):
        if value is not None and value < 1:
            raise ConfigError(f"merge_bottlenecks: {name} = {value}: it should be at least 1")


def _planned(
    blocks: Sequence[Block],
    share: float,
    rank: int | None,
    branches: int,
    bias: bool,
    multiple: int,
    include: Sequence[str],
    exclude: Sequence[str],
) -> tuple[LowRankPlan, dict[str, str]]:
    names = [block.name for block in blocks]
    for pattern in include:
        if names and not any(fnmatchcase(name, pattern) for name in names):
            raise PlanError(
                f"merging: include '{pattern}' matches no block{nearest(pattern, names)}; "
                f"the first is '{names[0]}'"
            )
    entries, skipped = [], {}
    for block in blocks:
        reason = block.reason or _unwanted(block.name, include, exclude)
        if not reason:
            width = min(block.shape[:2])
            wanted = math.floor(share * width) if rank is None else rank
            chosen = wanted - wanted % multiple
            if 1 <= chosen <= width:
                ranks = (chosen, chosen)
                entries.append(
                    LayerPlan(block.name, "bottleneck", block.shape, ranks, branches, bias)
                )
                continue
            above = f"is above its width {width}" if chosen else f"rounds down to 0 at {multiple}"
            reason = f"rank {wanted} {above}"
        skipped[block.name] = reason
    if not entries:
        first = f"'{blocks[0].name}': {skipped[blocks[0].name]}" if blocks else "it has none at all"
        raise PlanError(f"merging: no bottleneck of this network can be merged ({first})")
    record = {"merge": share} if rank is None else {"merge_rank": rank}
    return LowRankPlan(tuple(entries), record), skipped


def _unwanted(name: str, include: Sequence[str], exclude: Sequence[str]) -> str:
    for pattern in exclude:
        if fnmatchcase(name, pattern):
            return f"excluded by '{pattern}'"
    return "" if any(fnmatchcase(name, pattern) for pattern in include) else "not included"


def _check_plan(plan: LowRankPlan, blocks: Sequence[Block]) -> None:
    known = {block.name: block for block in blocks}
    for entry in plan.layers:
        block = known.get(entry.name)
        if entry.kind != "bottleneck":
            raise PlanError(f"plan: '{entry.name}' is a {entry.kind}; this plan merges nothing")
        if block is None:
            raise PlanError(f"plan: the network has no block '{entry.name}'"
                            f"{nearest(entry.name, known)}")  # fmt: skip
        if block.reason:
            raise PlanError(f"plan: block '{entry.name}' cannot be merged: {block.reason}")
        if block.shape != entry.shape:
            raise PlanError(
                f"plan: the 3x3 of block '{entry.name}' is {entry.shape} there, but {block.shape} "
                "here; use the network the plan was made for"
            )


def _weights(cell: nn.Cell, entry: LayerPlan) -> MergedWeights:
    convs = (cell.conv1, cell.conv2, cell.conv3)
    kernels = tuple(_array(conv.weight, entry.name) for conv in convs)
    norms = (_norm(cell.bn1, cell.conv1), _norm(cell.bn2, cell.conv2))
    bias3 = cell.conv3.bias.asnumpy().astype(np.float64) if cell.conv3.has_bias else None
    ranks = (entry.rank[0], entry.rank[1])
    return merge_weights((kernels[0], kernels[1], kernels[2]), norms, ranks, entry.branches, bias3)


def _array(parameter: Tensor, block: str) -> np.ndarray:
    array = parameter.asnumpy().astype(np.float64)
    if not np.isfinite(array).all():
        raise PlanError(f"block '{block}': a weight holds NaN or infinity; load sound weights")
    return array


def _norm(norm: nn.Cell, conv: nn.Cell) -> Affine:
    gamma, beta, mean, variance = (
        p.asnumpy().astype(np.float64)
        for p in (norm.gamma, norm.beta, norm.moving_mean, norm.moving_variance)
    )
    bias = conv.bias.asnumpy().astype(np.float64) if conv.has_bias else None
    return folded_norm(gamma, beta, mean, variance, norm.eps, bias)


def _empty(cell: nn.Cell, entry: LayerPlan) -> dict[str, nn.Cell]:
    """Return the five cells that are new in a merged block; kernels are zeros, norms are fresh."""
    r1, r2 = entry.rank
    C, S = cell.conv1.in_channels, cell.conv3.out_channels
    new = {
        "conv1": _conv(cell.conv1, C, r1, has_bias=entry.bias),
        "bn1": _fresh_norm(cell.bn1, r1),
        "conv2": _conv(cell.conv2, r1, r2, group=entry.branches),
        "bn2": _fresh_norm(cell.bn2, r2),
        "conv3": _conv(cell.conv3, r2, S, has_bias=entry.bias),
    }
    for name, made in new.items():
        old = getattr(cell, name)
        own = old.gamma if name.startswith("bn") else old.weight
        prefix = own.name.removesuffix(own.name.rpartition(".")[2])
        for path, parameter in made.parameters_and_names():
            parameter.name = prefix + path
        made.add_flags_recursive(**old.get_flags())
        made.set_train(old.training)
    return new


def _conv(old: nn.Conv2d, C: int, S: int, has_bias: bool = False, group: int = 1) -> nn.Conv2d:
    geometry = ("kernel_size", "stride", "pad_mode", "padding", "dilation")
    return nn.Conv2d(
        C,
        S,
        has_bias=has_bias,
        group=group,
        weight_init="zeros",
        bias_init="zeros",
        dtype=old.weight.dtype,
        **{name: getattr(old, name) for name in geometry},
    )


def _fresh_norm(old: nn.BatchNorm2d, channels: int) -> nn.BatchNorm2d:
    # the attribute is the share that is replaced, the argument the one that is kept
    return nn.BatchNorm2d(channels, eps=old.eps, momentum=1.0 - old.momentum)


def _fill(new: Mapping[str, nn.Cell], weights: MergedWeights) -> None:
    arrays = [
        (new["conv1"].weight, weights.conv1),
        (new["conv2"].weight, weights.core),
        (new["conv3"].weight, weights.conv3),
    ]
    if new["conv1"].has_bias:
        arrays += [(new["conv1"].bias, weights.bias1), (new["conv3"].bias, weights.bias3)]
    for parameter, array in arrays:
        parameter.set_data(Tensor(array.astype(np.float32), parameter.dtype))


def _shifted(bn1: nn.Cell, bn3: nn.Cell, weights: MergedWeights) -> nn.Cell:
    """Move the biases' shifts into the means of what follows; return the new bn3.

    `norm(x + b)` with mean m is `norm(x)` with mean `m - b`.
    """
    bn3 = copy.deepcopy(bn3)
    for norm, shift in ((bn1, weights.bias1), (bn3, weights.bias3)):
        mean = norm.moving_mean
        mean.set_data(Tensor((mean.asnumpy() - shift).astype(np.float32), mean.dtype))
    return bn3


def _pairs(cell: nn.Cell, new: Mapping[str, nn.Cell]) -> list[tuple[nn.Cell, nn.Cell]]:
    return [(getattr(cell, name), made) for name, made in new.items()]


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
