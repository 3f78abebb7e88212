"""The residual blocks of a network, and a plan of which are merged at which ranks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

import numpy as np
from mindspore import nn

from ms_eff.errors import PlanError, nearest
from ms_eff.methods.lowrank.plan import LayerPlan, LowRankPlan
from ms_eff.models.resnet import BasicBlock, Bottleneck

__all__ = ["Block", "check_merge_plan", "find_blocks", "plan_merge"]

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


def plan_merge(
    blocks: Sequence[Block],
    share: float,
    rank: int | None,
    branches: int,
    bias: bool,
    multiple: int,
    include: Sequence[str],
    exclude: Sequence[str],
) -> tuple[LowRankPlan, dict[str, str]]:
    """Return the plan of the blocks that are to be merged, and for the others the reason.

    Args:
        blocks: all those of the network.
        share: rank as a share of the 3x3's width.
        rank: the rank itself, in place of `share`.
        branches: groups of the core.
        bias: whether merged 1x1 convolutions have one.
        multiple: ranks are rounded down to a multiple.
        include: name patterns, of which a block has to match one.
        exclude: never these.

    Raises:
        PlanError: a pattern matches no block, or no block can be merged.
    """
    names = [block.name for block in blocks]
    for key, patterns in (("include", include), ("exclude", exclude)):
        for pattern in patterns:
            if names and not any(fnmatchcase(name, pattern) for name in names):
                raise PlanError(
                    f"merging: {key} '{pattern}' matches no block{nearest(pattern, names)}; "
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


def check_merge_plan(plan: LowRankPlan, blocks: Sequence[Block]) -> None:
    """Refuse a plan that does not fit the blocks; raises PlanError with the first that differs."""
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
