"""CELU through the ELU kernel, and in a form that ONNX can take."""

from __future__ import annotations

import mindspore as ms
from mindspore import nn, ops

from ms_eff.errors import ConfigError

__all__ = ["CELU"]


class CELU(nn.Cell):
    """max(0, x) + min(0, alpha (exp(x / alpha) - 1)) (arXiv:1704.07483).

    It is alpha * ELU(x / alpha), by the ELU kernel.

    Args:
        alpha: minus the lowest value; its slope at 0 is 1 for any alpha.

    Attributes:
        portable: use the form without Elu, which the ONNX exporter lacks (see
            `ms_eff.deploy.substitutes`).

    Raises:
        ConfigError: alpha is not above 0.

    >>> import numpy as np
    >>> print(CELU(0.3)(ms.Tensor(np.array([-1.0, 0.0, 1.0], np.float32))).asnumpy().round(4))
    [-0.2893  0.      1.    ]
    """

    def __init__(self, alpha: float = 0.3) -> None:
        super().__init__()
        if alpha <= 0:
            raise ConfigError(f"alpha: expected a number above 0, got {alpha:g}")
        self.alpha = alpha
        self.portable = False
        self.elu = ops.Elu()

    def construct(self, x: ms.Tensor) -> ms.Tensor:
        """Return a tensor of the shape of `x`."""
        if self.portable:
            above = ops.relu(x)
            below = x - above  # min(x, 0): large x would overflow the exponential
            return above + self.alpha * (ops.exp(below * (1.0 / self.alpha)) - 1.0)
        return self.alpha * self.elu(x * (1.0 / self.alpha))
