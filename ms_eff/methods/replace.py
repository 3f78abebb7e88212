"""A copy of a network with some of its cells exchanged."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import Any

from mindspore import nn

__all__ = ["replaced"]


def replaced(network: nn.Cell, swaps: Iterable[tuple[nn.Cell, nn.Cell]]) -> nn.Cell:
    """Return a copy of the network in which new cells stand for old ones.

    A deep copy that is told beforehand what each replaced cell was copied to: every reference to
    the cell, in attributes, lists and containers, becomes one to the new cell, and the weights
    that go are never copied.

    Args:
        network: stays as it is.
        swaps: (old, new) cells.
    """
    memo: dict[int, Any] = {id(old): new for old, new in swaps}
    copied = copy.deepcopy(network, memo)
    before = {parameter.name: parameter for parameter in network.get_parameters()}
    for parameter in copied.get_parameters():
        if parameter.name in before:  # what a parameter's own copy forgets
            old = before[parameter.name]
            parameter.parallel_optimizer = old.parallel_optimizer
            parameter.layerwise_parallel = old.layerwise_parallel
    return copied
