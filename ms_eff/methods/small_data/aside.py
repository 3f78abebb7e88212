"""Parameters moved inside a compiled step and brought back bit for bit.

MindSpore orders the assignments of a graph among each other and after most reads, but not after
those of a backward kernel that reads a parameter in place: BatchNormGrad and its scale. Whatever
moves a parameter between two passes therefore waits for all gradients of the pass before.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mindspore import Parameter, ParameterTuple, Tensor, nn, ops

__all__ = ["Aside", "move", "statistics_of"]


class Aside(nn.Cell):
    """Copies of some parameters.

    Adding a step to a weight and subtracting it again would leave its last bits changed; a copy
    does not. The copies live on the device and go into no checkpoint: between two steps they hold
    nothing that is needed.

    Args:
        parameters: what is copied; there may be none.
        prefix: the copies are called that, a dot, and the parameter's name.
    """

    def __init__(self, parameters: Sequence[Parameter], prefix: str) -> None:
        super().__init__(auto_prefix=False)
        self.count = len(parameters)
        self.own = ParameterTuple(parameters)
        self.copies = ParameterTuple(
            [
                Parameter(Tensor(p.asnumpy()), f"{prefix}.{p.name}", requires_grad=False)
                for p in parameters
            ]
        )

    def construct(self) -> None:
        """Copy the parameters as they are now."""
        for i in range(self.count):
            ops.assign(self.copies[i], self.own[i])

    def put_back(self, after: Any) -> None:
        """Give the parameters the values of the copies, once the tensors `after` are there."""
        for i in range(self.count):
            ops.assign(self.own[i], ops.depend(self.copies[i], after))


def move(weights: Sequence[Parameter], steps: Sequence[Tensor], factor: Any, after: Any) -> None:
    """Add `factor * steps` to the weights, once the tensors `after` are there."""
    for i in range(len(weights)):
        step = ops.depend((factor * steps[i]).astype(weights[i].dtype), after)
        ops.assign_add(weights[i], step)


def statistics_of(model: nn.Cell) -> list[Parameter]:
    """Return what a forward in training may move: all parameters that are not trained.

    Running statistics of normalisations, counters of random draws.
    """
    return [p for p in model.get_parameters() if not p.requires_grad]
