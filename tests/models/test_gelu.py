from __future__ import annotations

from math import erf, exp, pi, sqrt

import mindspore as ms
import numpy as np
from mindspore import nn

from ms_eff.models import gelu
from tests.tolerances import LAYER

X = np.linspace(-9.0, 9.0, 3001, dtype=np.float32)
CDF = np.array([0.5 + 0.5 * erf(float(x) / sqrt(2)) for x in X])


def test_forward_is_exact_gelu() -> None:
    found = gelu.GELU()(ms.Tensor(X)).asnumpy()
    np.testing.assert_allclose(found, X * CDF, rtol=1e-6, atol=1e-6)


def test_gradient_is_that_of_the_formula() -> None:
    found = ms.grad(gelu.GELU())(ms.Tensor(X)).asnumpy()
    density = np.array([exp(-(float(x) ** 2) / 2) / sqrt(2 * pi) for x in X])
    np.testing.assert_allclose(found, CDF + X * density, rtol=LAYER, atol=LAYER)


def test_portable_error_function_is_within_its_bound() -> None:
    z = np.concatenate([X, np.array([-60.0, 60.0, 1e4], np.float32)])
    value = np.full_like(z, gelu._ERF[-1])
    square = np.minimum(z * z, np.float32(gelu._HELD))
    for coefficient in gelu._ERF[-2::-1]:
        value = value * square + np.float32(coefficient)
    expected = np.array([erf(float(v)) for v in z])
    np.testing.assert_allclose(np.tanh(z * value), expected, rtol=0, atol=1.5e-7)


class _Portable(nn.Cell):
    def __init__(self) -> None:
        super().__init__()
        self.act = gelu.GELU()
        self.act.cdf.portable = True

    def construct(self, x: ms.Tensor) -> ms.Tensor:
        return self.act(x)


def test_portable_form_runs_on_a_device_too() -> None:
    # MindSpore's tanh on the CPU is good to 1e-4 only, which is why the form is for export alone
    found = _Portable()(ms.Tensor(X)).asnumpy()
    np.testing.assert_allclose(found, X * CDF, rtol=1e-4, atol=1e-3)


def _tanh_gelu(x: np.ndarray) -> np.ndarray:
    return 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))


def test_tanh_form_and_its_gradient_are_those_of_the_formula() -> None:
    act, x = gelu.TanhGELU(), X.astype(np.float64)
    np.testing.assert_allclose(act(ms.Tensor(X)).asnumpy(), _tanh_gelu(x), rtol=LAYER, atol=1e-6)
    step = 1e-5
    slope = (_tanh_gelu(x + step) - _tanh_gelu(x - step)) / (2 * step)
    np.testing.assert_allclose(ms.grad(act)(ms.Tensor(X)).asnumpy(), slope, atol=LAYER)


def test_tanh_form_stays_finite_in_half_precision() -> None:
    x = ms.Tensor(np.array([-6e4, -300, -20, 20, 300, 6e4], np.float16))
    act = gelu.TanhGELU()
    np.testing.assert_array_equal(act(x).asnumpy(), np.maximum(x.asnumpy(), 0))
    np.testing.assert_array_equal(ms.grad(act)(x).asnumpy(), [0, 0, 0, 1, 1, 1])
