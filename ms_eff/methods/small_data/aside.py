"""Parameters put aside inside a compiled step and brought back bit for bit."""

from __future__ import annotations

from collections.abc import Sequence

from mindspore import Parameter, ParameterTuple, Tensor, nn, ops

__all__ = ["Aside", "statistics_of"]


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

    def put_back(self) -> None:
        """Give the parameters the values of the copies."""
        for i in range(self.count):
            ops.assign(self.own[i], self.copies[i])


def statistics_of(model: nn.Cell) -> list[Parameter]:
    """Return what a forward in training may move: all parameters that are not trained.

    Running statistics of normalisations, counters of random draws.
    """
    return [p for p in model.get_parameters() if not p.requires_grad]
