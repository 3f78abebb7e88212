"""Grouped attention put into a network in the place of plain attention."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

import mindspore as ms
import numpy as np
from mindspore import nn

from ms_eff.errors import ConfigError, PlanError, nearest
from ms_eff.methods.gqkva.core import pool, relative_error
from ms_eff.methods.gqkva.plan import GroupPlan, GroupReport
from ms_eff.methods.replace import replaced
from ms_eff.models.attention import Attention
from ms_eff.models.heads import Groups, HeadLayout, check_groups, head_layout

__all__ = ["convert_attention", "rebuild"]


def convert_attention(
    network: nn.Cell,
    kind: str,
    groups: Groups = None,
    *,
    include: Sequence[str] = ("*",),
    fresh_seed: int | None = None,
) -> tuple[nn.Cell, GroupPlan, list[GroupReport]]:
    """Return a copy of a network whose attention shares projections (arXiv:2311.03426).

    Every `ms_eff.models.attention.Attention` cell is converted, whatever network it stands in. The
    shared projections are the means of those they stand for, which is exact where nothing is
    shared and a start for more training elsewhere.

    Args:
        network: with plain attention (MHA); it stays as it is.
        kind: `mha`, `mqa`, `gqa`, `mkva`, `gkva` or `gqkva`.
        groups: see `ms_eff.models.heads.head_layout`.
        include: only cells that match one of these name patterns.
        fresh_seed: draw the qkv layers anew from this seed instead of pooling: the mean of random
            projections is too small a start.

    Returns:
        The new network, the plan that `rebuild` needs, and a report a cell.

    Raises:
        ConfigError: unknown kind or groups that do not fit the heads.
        PlanError: no cell matches, or one is grouped or decomposed already.

    >>> from ms_eff import models
    >>> network = models.build("vit", image_size=8, patch_size=4, dim=12, depth=1, heads=6)
    >>> grouped, plan, report = convert_attention(network, "gkva", 3)
    >>> grouped.blocks[0].attn.qkv.weight.shape, report[0].queries, report[0].keys
    ((30, 12), 3, 6)
    """
    check_groups(kind, groups)
    found = {
        name: cell
        for name, cell in _attention(network).items()
        if any(fnmatchcase(name, pattern) for pattern in include)
    }
    if not found:
        raise PlanError(
            f"include: {', '.join(include)}: the network has no attention cell of that name; "
            f"it has: {', '.join(_attention(network)) or 'none'}"
        )
    rng = None if fresh_seed is None else np.random.default_rng(fresh_seed)
    swaps, report = [], []
    for name, cell in found.items():
        layout = _layout(name, cell, kind, groups)
        new = _grouped(cell, layout, rng or np.random.default_rng(0))
        error = _pool_into(cell, new) if rng is None else None
        swaps.append((cell, new))
        before, after = (sum(p.size for p in c.qkv.get_parameters()) for c in (cell, new))
        report.append(
            GroupReport(name, cell.heads, layout.queries, layout.keys, before, after, error)
        )
    return replaced(network, swaps), GroupPlan(kind, groups, tuple(found)), report


def rebuild(network: nn.Cell, plan: GroupPlan | Mapping[str, Any]) -> nn.Cell:
    """Return a copy of a network with the shapes of a plan; the weights are loaded later.

    Args:
        network: built as the one that the plan was made for.
        plan: a plan or its JSON.

    Raises:
        PlanError: the plan does not fit the network.
    """
    plan = plan if isinstance(plan, GroupPlan) else GroupPlan.from_json(plan)
    known = _attention(network)
    swaps = []
    for name in plan.cells:
        if name not in known:
            raise PlanError(f"plan: the network has no attention '{name}'{nearest(name, known)}")
        layout = _layout(name, known[name], plan.kind, plan.groups)
        swaps.append((known[name], _grouped(known[name], layout, np.random.default_rng(0))))
    return replaced(network, swaps)


def _attention(network: nn.Cell) -> dict[str, Attention]:
    cells = network.cells_and_names()
    return {name: cell for name, cell in cells if isinstance(cell, Attention)}


def _layout(name: str, cell: Attention, kind: str, groups: Groups) -> HeadLayout:
    """Return the layout, or say why this cell cannot have it."""
    if cell.layout != head_layout("mha", cell.heads):
        raise PlanError(
            f"layer '{name}': its attention is grouped already; convert the network it came from"
        )
    if type(cell.qkv) is not nn.Dense:
        raise PlanError(
            f"layer '{name}.qkv' is a {type(cell.qkv).__name__}, whose rows cannot be grouped; "
            "name gqkva before lowrank"
        )
    try:
        return head_layout(kind, cell.heads, groups)
    except ConfigError as error:
        raise ConfigError(f"layer '{name}': {error}") from error


def _grouped(cell: Attention, layout: HeadLayout, rng: np.random.Generator) -> Attention:
    """Return new attention with a fresh qkv layer and the old output layer, under its names."""
    new = Attention(rng, cell.dim, cell.heads, layout)
    new.proj = copy.deepcopy(cell.proj)
    prefix = cell.qkv.weight.name.removesuffix("qkv.weight")
    for name, parameter in new.parameters_and_names():
        parameter.name = prefix + name
    new.set_train(cell.training)
    return new


def _pool_into(old: Attention, new: Attention) -> float:
    """Fill the shared projections with means; return the relative error of the weight."""
    for own, source in zip(new.qkv.get_parameters(), old.qkv.get_parameters(), strict=True):
        own.set_data(ms.Tensor(pool(source.asnumpy(), new.layout)))
    weights = old.qkv.weight.asnumpy(), new.qkv.weight.asnumpy()
    return relative_error(*weights, new.layout)
