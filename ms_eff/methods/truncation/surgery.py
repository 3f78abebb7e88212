"""Blocks taken out of a network, whatever network it is."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from mindspore import nn

from ms_eff.errors import PlanError, nearest
from ms_eff.methods.replace import replaced
from ms_eff.methods.truncation.core import chosen_blocks
from ms_eff.methods.truncation.plan import TruncationPlan

__all__ = ["TruncationReport", "rebuild", "truncate_layers"]

# cells that hold a network's blocks in order and nothing else
_LISTS = (nn.CellList, nn.SequentialCell)


@dataclass(frozen=True)
class TruncationReport:
    """What was done.

    Attributes:
        blocks: name of the list.
        depth: blocks it had.
        kept: those that stayed, by the numbers they had.
        params_before: of the whole network.
        params_after: likewise.
    """

    blocks: str
    depth: int
    kept: tuple[int, ...]
    params_before: int
    params_after: int


def truncate_layers(
    network: nn.Cell,
    keep: int | None = None,
    rule: str | Sequence[int] = "pseudo_uniform",
    *,
    seed: int = 0,
    blocks: str | None = None,
) -> tuple[nn.Cell, TruncationPlan, TruncationReport]:
    """Return a copy of a network that has some of its blocks only (arXiv:2110.08460).

    Everything else (embeddings, last normalisation, head) and each chosen block is copied whole;
    no tensor is shared with the network that was given. Widths stay.

    Args:
        network: with a list of like blocks: GPT-2, BERT, a Llama, a ViT, or a cell of yours.
        keep: how many blocks stay; None where `rule` is a list.
        rule: `pseudo_uniform`, `uniform`, `bottom`, `top`, `random`, or the blocks, rising from 0.
        seed: of `random`.
        blocks: name of the list (a `CellList` or `SequentialCell`); by default the one that holds
            most weights among those whose blocks are alike.

    Returns:
        The new network, the plan that `rebuild` needs, and what was done.

    Raises:
        ConfigError: the rule has no answer for these numbers.
        PlanError: there is no such list.

    >>> from ms_eff import models
    >>> network = models.build("gpt2", vocab=40, positions=8, dim=12, depth=4, heads=2)
    >>> student, plan, report = truncate_layers(network, 2)
    >>> len(student.blocks), plan.kept, report.params_before - report.params_after
    (2, (0, 3), 3768)
    """
    name, found = _block_list(network, blocks)
    plan = TruncationPlan(name, len(found), chosen_blocks(len(found), keep, rule, seed))
    student = rebuild(network, plan)
    before, after = (sum(p.size for p in n.get_parameters()) for n in (network, student))
    return student, plan, TruncationReport(name, plan.depth, plan.kept, before, after)


def rebuild(network: nn.Cell, plan: TruncationPlan | Mapping[str, Any]) -> nn.Cell:
    """Return a copy of a network with the blocks of a plan.

    Args:
        network: built as the one that the plan was made for; it stays as it is.
        plan: a plan or its JSON.

    Raises:
        PlanError: the plan does not fit the network.
    """
    plan = plan if isinstance(plan, TruncationPlan) else TruncationPlan.from_json(plan)
    _, found = _block_list(network, plan.blocks)
    if len(found) != plan.depth:
        raise PlanError(
            f"plan: '{plan.blocks}' has {len(found)} blocks, the plan is of {plan.depth}; was it "
            "truncated already?"
        )
    chosen = [found[index] for index in plan.kept]
    names = [
        _new_names(block, f"{plan.blocks}.{old}.", f"{plan.blocks}.{new}.")
        for new, (old, block) in enumerate(zip(plan.kept, chosen, strict=True))
    ]
    fewer = type(found)(copy.deepcopy(chosen))
    # a list names what is put into it by its place alone
    for block, wanted in zip(fewer, names, strict=True):
        for parameter, name in zip(block.get_parameters(), wanted, strict=True):
            parameter.name = name
    fewer.add_flags(training=found.training)
    student = replaced(network, [(found, fewer)])
    _state_depth(student, len(plan.kept))
    return student


def _new_names(block: nn.Cell, before: str, after: str) -> list[str]:
    return [p.name.replace(before, after, 1) for p in block.get_parameters()]


def _state_depth(student: nn.Cell, depth: int) -> None:
    """Let a network that knows its own numbers (GPT-2, Llama) know its new depth."""
    shape: Any = getattr(student, "shape", None)
    if hasattr(shape, "depth"):
        student.shape = replace(shape, depth=depth)


def _block_list(network: nn.Cell, wanted: str | None) -> tuple[str, nn.Cell]:
    """Return the list of blocks and its name."""
    lists = {n: cell for n, cell in network.cells_and_names() if type(cell) in _LISTS}
    alike = {name: cell for name, cell in lists.items() if _are_alike(cell)}
    if wanted is not None:
        if wanted not in alike:
            raise PlanError(
                f"blocks: the network has no list '{wanted}' of like blocks{nearest(wanted, alike)}"
                f"; it has: {', '.join(alike) or 'none'}"
            )
        return wanted, alike[wanted]
    if not alike:
        raise PlanError(
            f"blocks: {type(network).__name__} has no list of like blocks (a CellList or "
            "SequentialCell); name truncation before methods that make blocks differ (lowrank, "
            "skipvit)"
        )
    weights = {n: sum(p.size for p in cell.get_parameters()) for n, cell in alike.items()}
    name = max(weights, key=lambda n: weights[n])
    return name, alike[name]


def _are_alike(cells: nn.Cell) -> bool:
    """Tell whether all blocks are of one class, with weights of the same names and shapes."""
    kinds = {type(block) for block in cells}
    shapes = {
        tuple((name, tuple(p.shape)) for name, p in block.parameters_and_names()) for block in cells
    }
    return len(kinds) == 1 and len(shapes) == 1 and bool(next(iter(shapes)))
