"""Activation-aware truncation block by block, each block judged by what the truncated ones feed it.

What SVD-LLM (arXiv:2403.07378) does where it updates layer by layer. The statistics are of one size
of member alone, so that each share takes a pass of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ms_eff.methods.lowrank.criteria import damped_inputs
from ms_eff.methods.lowrank.graph_moments import replace_by_block
from ms_eff.methods.lowrank.moments import Moments
from ms_eff.methods.lowrank.roots import InputMoment
from ms_eff.methods.lowrank.weighted import nested_factors
from ms_eff.methods.progressive.core import block_shapes
from ms_eff.methods.progressive.identity import ids_digest, model_digest
from ms_eff.methods.progressive.stacks import embedded, stack_of
from ms_eff.methods.progressive.truncate import Decomposed

if TYPE_CHECKING:
    from ms_eff.methods.progressive.compressed import Model

__all__ = ["decompose_in_order"]


def decompose_in_order(
    parent: Model,
    rows: np.ndarray,
    ranks: Mapping[str, int],
    folder: Path,
    after_block: Callable[[int], None] = lambda done: None,
) -> Decomposed:
    """Return factors of all block linears; what the folder holds already is kept.

    Args:
        parent: the model on disk.
        rows: (n, N + 1) windows of token ids.
        ranks: by layer.
        folder: made if it is missing; it belongs to these arguments.
        after_block: told how many blocks are done.

    Raises:
        ConfigError: the folder belongs to others.
    """
    shapes = block_shapes(parent.shape)
    made_from = {
        "source": model_digest(parent, shapes),
        "rule": "activation, in order",
        "ids_digest": ids_digest(rows),
        "ranks": dict(ranks),
    }
    found = Decomposed(folder, "activation", made_from)
    stack = stack_of(parent, rows.shape[1] - 1)

    def layers(i: int) -> dict[str, str]:
        prefix = f"{parent.shape.blocks}.{i}."
        return {
            f"block.{name.removeprefix(prefix)}": name for name in shapes if name.startswith(prefix)
        }

    def replaced(i: int, moments: Mapping[str, Moments]) -> dict[str, np.ndarray]:
        arrays = dict(stack.weights(i))
        judged: dict[int, InputMoment] = {}  # layers of one input share it
        for inner, name in layers(i).items():
            if not found.file(name).exists():
                G = moments[inner].inputs
                if id(G) not in judged:
                    judged[id(G)] = InputMoment(damped_inputs(G))
                weight = arrays[f"{inner}.weight"]
                found.save(name, nested_factors(weight, ranks[name], judged[id(G)]))
            first, last = found.pair(name, ranks[name])
            arrays[f"{inner}.weight"] = last @ first
        return arrays

    replace_by_block(
        stack,
        embedded(parent, rows[:, :-1]),
        replaced,
        lambda i: all(found.file(name).exists() for name in layers(i).values()),
        after_block,
    )
    return found
