"""What a case is: a cell of ours, its torch twins, the inputs and how it is trained."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Case", "Inputs", "Twin"]


@dataclass(frozen=True)
class Inputs:
    """Shape of the input with its batch axis; integers below `high` if that is given."""

    shape: tuple[int, ...]
    high: int | None = None


@dataclass(frozen=True)
class Twin:
    """The same network in torch.

    Attributes:
        build: `module:function` under `cross_check.twins`.
        naming: a library of `ms_eff.models.naming`, or `torch` for our cells' names with torch's
            names of their arrays.
        args: arguments of `build`; those that the cell decides (ranks) come on top.
    """

    build: str
    naming: str
    args: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Case:
    """One row.

    Attributes:
        name: as it stands in tables and results.
        cell: `module:function` under `cross_check.cells`, called with `args`.
        twins: each is compared with the same MindSpore run.
        smooth: whether the cell is without ReLU and the like (see `tolerances.py`).
        dtypes: what is run unless `--dtype` says otherwise; the CPU has no bfloat16 kernels.
        reference: `module:function` under `cross_check.twins` that decomposes anew, or None.
        zero: patterns of the weights, in the twin's names, whose gradient is zero in exact
            arithmetic: a bias before a batch normalisation in training.
        quick: modes in which the fast tests run it; the others are left to the slow ones.
        rate: learning rate: one at which ten steps lower the loss without wide swings, for these
            magnify rounding.
        outputs_only: bound outputs only: rounding alone changes the gradients by as much.
    """

    name: str
    cell: str
    inputs: Inputs
    twins: tuple[Twin, ...]
    args: Mapping[str, Any] = field(default_factory=dict)
    smooth: bool = False
    dtypes: tuple[str, ...] = ("float32",)
    reference: str | None = None
    zero: tuple[str, ...] = ()
    quick: tuple[str, ...] = ("graph", "pynative")
    rate: float = 0.01
    outputs_only: bool = False
