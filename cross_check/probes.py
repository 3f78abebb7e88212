"""What of single methods is kept beside a recipe's batches, losses and weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from mindspore import nn

from ms_eff.methods.base import Method
from ms_eff.methods.lowrank.plan import LowRankPlan
from ms_eff.methods.skipvit.cells import RandomScores

__all__ = ["at_end", "of_step", "twin_args"]


def twin_args(methods: Sequence[Method]) -> dict[str, Any]:
    """Return what the network's twin must know of the methods that have changed it."""
    args: dict[str, Any] = {}
    for method in methods:
        plan = method.plan or {}
        match method.name:
            case "patch_whitening":
                args["filters"] = plan["filters"]
            case "ghost_batch_norm":
                args["splits"] = plan["splits"]
            case "lowrank":
                args["ranks"] = _ranks(method)
            case "truncation":
                args["kept"] = plan["kept"]
    return args


def of_step(methods: Sequence[Method], network: nn.Cell, batch: int) -> dict[str, np.ndarray]:
    """Return what was drawn for the step that has just been taken.

    Args:
        methods: of the run.
        network: in training.
        batch: samples in a batch.
    """
    found: dict[str, np.ndarray] = {}
    for method in methods:
        if method.name == "distillation" and method.settings.kind == "rail":
            found["drawn"] = method.state()["drawn"].copy()
        if method.name == "skipvit" and network.blocks.random is not None:
            found["scores"] = _scores(network.blocks.random, batch)
    return found


def _scores(random: RandomScores, batch: int) -> np.ndarray:
    """Return the scores that a step has just drawn: the rows before those that come next."""
    table = random.table.asnumpy()
    return table[(int(random.drawn.asnumpy()) - batch + np.arange(batch)) % len(table)]


def _ranks(method: Method) -> dict[str, Any]:
    """Return the ranks of decomposed layers, or the one rank of merged blocks."""
    merged = method.settings.merge is not None
    layers = LowRankPlan.from_json(method.plan).layers
    return {p.name: p.rank[0] if merged else list(p.rank) for p in layers}


def at_end(
    methods: Sequence[Method], network: nn.Cell, seen: Sequence[Mapping[str, Any]]
) -> dict[str, np.ndarray]:
    """Return quantities of the whole training, as `quantity/name`.

    Args:
        methods: of the run.
        network: trained.
        seen: batches.
    """
    found: dict[str, np.ndarray] = {}
    for method in methods:
        if method.name == "patch_whitening":
            found["whitening filters/"] = network.conv1.whiten.filters.asnumpy()
        if method.name == "swiftlearn":
            found |= _subsets(method, seen)
    return found


def _subsets(method: Method, seen: Sequence[Mapping[str, Any]]) -> dict[str, np.ndarray]:
    """Return what can be said of the samples of each reduced epoch, by policy."""
    wishes, epochs = method.settings, {batch["epoch"] for batch in seen}
    used = {e: np.concatenate([b["indices"] for b in seen if b["epoch"] == e]) for e in epochs}
    whole = len(used[0])
    found = {}
    for epoch, indices in used.items():
        samples = np.sort(indices).astype(np.float64)
        if len(samples) == whole:
            continue
        name = f"epoch {epoch}"
        if wishes.policy == "infobatch" or (
            wishes.policy == "swiftlearn" and wishes.selection == "topk"
        ):
            found[f"chosen samples/{name}"] = samples
        else:
            found[f"number of samples/{name}"] = np.array([len(samples)], np.float64)
    return found
