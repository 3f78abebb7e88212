"""Operators whose backward sums along an axis, with that sum as a matrix product on a CPU.

MindSpore's reductions on a CPU run far below what memory allows; a product with a vector of ones
gives the same sum at the speed of its matrix kernels. Forward passes are the plain operators'.
"""

from __future__ import annotations

from typing import Any

import mindspore as ms
from mindspore import nn, ops

__all__ = ["BiasAdd", "Softmax", "bias_add", "softmax"]


def bias_add() -> Any:
    """Return what adds a bias to the rows of a matrix, in the form that suits the backend."""
    return BiasAdd() if ms.get_context("device_target") == "CPU" else ops.BiasAdd()


def softmax() -> Any:
    """Return a softmax over the last axis, in the form that suits the backend."""
    return Softmax() if ms.get_context("device_target") == "CPU" else ops.Softmax(-1)


class BiasAdd(nn.Cell):
    """Rows plus a bias: ``(n, channels)`` and ``(channels,)`` to ``(n, channels)``."""

    def __init__(self) -> None:
        super().__init__()
        self.add = ops.BiasAdd()
        self.matmul = ops.MatMul()

    def construct(self, x: ms.Tensor, bias: ms.Tensor) -> ms.Tensor:
        """Return the sum."""
        return self.add(x, bias)

    def bprop(
        self, x: ms.Tensor, bias: ms.Tensor, out: ms.Tensor, dout: ms.Tensor
    ) -> tuple[ms.Tensor, ms.Tensor]:
        """Return the gradients: as it comes, and summed over the rows.

        The bias's is float32, as the parameter is: in a cell that computes in float16 the two
        arguments are seen here after their cast, whose own gradient this function replaces.
        """
        ones = ops.ones((1, dout.shape[0]), dout.dtype)
        sums = ops.reshape(self.matmul(ones, dout), bias.shape)
        return dout, sums.astype(ms.float32)


class Softmax(nn.Cell):
    """Softmax over the last axis."""

    def __init__(self) -> None:
        super().__init__()
        self.softmax = ops.Softmax(-1)
        self.matmul = ops.MatMul()

    def construct(self, x: ms.Tensor) -> ms.Tensor:
        """Return a tensor of the shape of `x` whose rows sum to 1."""
        return self.softmax(x)

    def bprop(self, x: ms.Tensor, out: ms.Tensor, dout: ms.Tensor) -> tuple[ms.Tensor]:
        """Return y (dy - sum(y dy))."""
        width = out.shape[-1]
        rows = ops.reshape(out * dout, (-1, width))
        sums = self.matmul(rows, ops.ones((width, 1), dout.dtype))
        return (out * (dout - ops.reshape(sums, (*out.shape[:-1], 1))),)
