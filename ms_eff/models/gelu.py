"""Exact GELU with a short backward and a form that ONNX can take, and GPT-2's tanh form."""

from __future__ import annotations

import math

import mindspore as ms
from mindspore import nn, ops

__all__ = ["GELU", "NormalCdf", "TanhGELU"]

# erf(z) = tanh(z P(z^2)) with P fitted (ours) for the smallest largest error: 5.8e-8 over all z,
# 1.3e-7 in float32; lowest power first
_ERF = (
    *(1.12837971, 0.102765482, -0.000184384885, -0.000625718265),
    *(8.9711965e-05, -5.98556162e-06, 1.58950754e-07),
)
# x (1 + tanh(u)) / 2 is x sigmoid(2 u); of 2 u = _SLOPE x + _BEND x^3 (arXiv:1606.08415)
_SLOPE = 2.0 * math.sqrt(2.0 / math.pi)
_BEND = 0.044715 * _SLOPE
# from here on tanh(z P) is 1 in float32 with P held, and the polynomial was not fitted beyond
_HELD = 16.0


class GELU(nn.Cell):
    """Gaussian error linear unit x * Phi(x) (arXiv:1606.08415), not its tanh approximation.

    >>> import numpy as np
    >>> print(GELU()(ms.Tensor(np.array([-1.0, 0.0, 1.0], np.float32))).asnumpy().round(4))
    [-0.1587  0.      0.8413]
    """

    def __init__(self) -> None:
        super().__init__()
        self.cdf = NormalCdf()

    def construct(self, x: ms.Tensor) -> ms.Tensor:
        """Return a tensor of the shape of `x`."""
        return x * self.cdf(x)


class NormalCdf(nn.Cell):
    """The normal distribution function Phi(x), element by element.

    Its derivative is written out: derived automatically it takes twice as many passes over the
    largest tensor of a transformer.

    Attributes:
        portable: use the form without Erf, which the ONNX exporter lacks (see
            `ms_eff.deploy.substitutes`).
    """

    def __init__(self) -> None:
        super().__init__()
        self.portable = False
        self.erf = ops.Erf()

    def construct(self, x: ms.Tensor) -> ms.Tensor:
        """Return values from 0 to 1 in the shape of `x`."""
        z = x * math.sqrt(0.5)
        value = _portable_erf(z) if self.portable else self.erf(z)
        return 0.5 * value + 0.5

    def bprop(self, x: ms.Tensor, out: ms.Tensor, dout: ms.Tensor) -> tuple[ms.Tensor]:
        """Return dout times the density exp(-x^2 / 2) / sqrt(2 pi)."""
        return (dout * (ops.exp(x * x * -0.5) * (1.0 / math.sqrt(2.0 * math.pi))),)


class TanhGELU(nn.Cell):
    """The tanh approximation of GELU, x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))) / 2.

    Transformers calls it `gelu_new`; GPT-2 was trained with it (arXiv:1606.08415).

    >>> import numpy as np
    >>> print(TanhGELU()(ms.Tensor(np.array([-1.0, 0.0, 1.0], np.float32))).asnumpy().round(4))
    [-0.1588  0.      0.8412]
    """

    def __init__(self) -> None:
        super().__init__()
        self.gate = _Gate()

    def construct(self, x: ms.Tensor) -> ms.Tensor:
        """Return a tensor of the shape of `x`."""
        return x * self.gate(x)


class _Gate(nn.Cell):
    """What `TanhGELU` multiplies by; a sigmoid, for MindSpore's tanh is good to 1e-4 on a CPU."""

    def __init__(self) -> None:
        super().__init__()
        self.sigmoid = ops.Sigmoid()

    def construct(self, x: ms.Tensor) -> ms.Tensor:
        return self.sigmoid(x * (_SLOPE + _BEND * (x * x)))

    def bprop(self, x: ms.Tensor, out: ms.Tensor, dout: ms.Tensor) -> tuple[ms.Tensor]:
        # x is multiplied in one by one: where its square would overflow in float16, slope is 0
        slope = out * (1.0 - out)
        return (dout * (slope * _SLOPE + slope * x * x * (3.0 * _BEND)),)


def _portable_erf(z: ms.Tensor) -> ms.Tensor:
    square = ops.minimum(z * z, _HELD)
    value = _ERF[-1] * square + _ERF[-2]
    for coefficient in _ERF[-3::-1]:
        value = value * square + coefficient
    return ops.tanh(z * value)
