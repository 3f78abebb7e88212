"""Layer freezing: half of the factors rests while the other half trains (arXiv:2309.03824).

A pair (W0, W1) has the outer set {W0} and the inner set {W1}; a Tucker triple the outer set of its
two 1x1 convolutions and the inner set {core}. Frozen factors are left out of the step's weights:
their gradients are not computed, and neither momentum nor weight decay moves them.
"""

from __future__ import annotations

from typing import Literal

from mindspore import Parameter, nn

from ms_eff.errors import PlanError
from ms_eff.methods.lowrank.cells import LowRankCell, LowRankConv
from ms_eff.methods.lowrank.settings import FreezeSettings

__all__ = ["Which", "frozen_factors", "frozen_set", "trained_weights"]

Which = Literal["outer", "inner"]


def frozen_set(settings: FreezeSettings, epoch: int) -> Which:
    """Return which set rests in that epoch, from 0; it depends on nothing else.

    Static freezing (arXiv:2407.20266) rests one set for good; sequential freezing (2309.03824)
    alternates every `period` epochs.

    >>> [frozen_set(FreezeSettings(kind="sequential"), epoch) for epoch in range(3)]
    ['outer', 'inner', 'outer']
    """
    other: Which = "inner" if settings.start == "outer" else "outer"
    if settings.kind == "static" or epoch // settings.period % 2 == 0:
        return settings.start
    return other


def frozen_factors(network: nn.Cell, which: Which) -> list[Parameter]:
    """Return the weights of that set, over all low-rank cells of a network, in its order.

    Args:
        network: decomposed, rebuilt or loaded: the cells are found by their class.
        which: `outer` (`first`, and `last` of a triple) or `inner` (`core`, `last` of a pair).
    """
    found = []
    for _, cell in network.cells_and_names():
        if isinstance(cell, LowRankCell):
            inner = "core" if isinstance(cell, LowRankConv) else "last"
            found += [
                weight
                for name, weight in cell.factors().items()
                if (name == inner) == (which == "inner")
            ]
    return found


def trained_weights(
    network: nn.Cell, weights: tuple[Parameter, ...], which: Which
) -> tuple[Parameter, ...]:
    """Return the weights without the frozen factors of that set.

    Raises:
        PlanError: the network has no factors, so that nothing would be frozen.
    """
    frozen = {id(weight) for weight in frozen_factors(network, which)}
    if not frozen:
        raise PlanError(
            "methods.lowrank.freeze: the network has no low-rank layer whose factors could be "
            "frozen; decompose layers, or drop freeze"
        )
    return tuple(weight for weight in weights if id(weight) not in frozen)
