"""One operation with its gradients, as a bench times it."""

from __future__ import annotations

from typing import Any

import mindspore as ms
from mindspore import ParameterTuple, Tensor, nn

__all__ = ["WithGradients"]


class WithGradients(nn.Cell):
    """Inputs to the gradients of the sum of a cell's outputs, by its input and its weights.

    Args:
        cell: in training mode.
    """

    def __init__(self, cell: nn.Cell) -> None:
        super().__init__(auto_prefix=False)
        self.cell = cell
        weights = ParameterTuple(cell.trainable_params())
        self.gradient = ms.grad(self._sum, 0, weights if len(weights) else None)
        self.set_train(True)

    def construct(self, inputs: Tensor) -> Any:
        """Return the gradients."""
        return self.gradient(inputs)

    def _sum(self, inputs: Tensor) -> Tensor:
        return self.cell(inputs).sum()
