"""The cases, one a row: a cell of ours, its torch twins, and the inputs. Data only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["CASES", "Case", "Inputs", "Twin"]


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
        naming: a library of `ms_eff.models.naming`, or a table of `module:name` under
            `cross_check.names` for cells that no library has.
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
        cell: function of `cross_check.cells`, called with `args`.
        twins: each is compared with the same MindSpore run.
        reference: `module:function` under `cross_check.twins` that decomposes anew, or None.
    """

    name: str
    cell: str
    inputs: Inputs
    twins: tuple[Twin, ...]
    args: Mapping[str, Any] = field(default_factory=dict)
    reference: str | None = None


_BASIC = {"block": "basic", "layers": [2, 2, 2, 2], "width": 8, "num_classes": 10}
_BOTTLENECK = {"block": "bottleneck", "layers": [1, 2, 1, 1], "width": 8, "num_classes": 10}

CASES: tuple[Case, ...] = (
    Case(
        "resnet18, CIFAR stem",
        "resnet",
        Inputs((4, 3, 16, 16)),
        (Twin("resnet:plain_resnet", "torchvision", {**_BASIC, "stem": "cifar"}),),
        {**_BASIC, "stem": "cifar"},
    ),
    Case(
        "bottleneck resnet, ImageNet stem",
        "resnet",
        Inputs((4, 3, 64, 64)),
        (
            Twin("resnet:plain_resnet", "torchvision", _BOTTLENECK),
            Twin("resnet:hf_resnet", "hf", _BOTTLENECK),
        ),
        _BOTTLENECK,
    ),
)
