from __future__ import annotations

import mindspore as ms
import numpy as np
import pytest
from mindspore import nn, ops

from ms_eff.models.initial import projection
from ms_eff.models.row_sums import BiasAdd, Softmax, bias_add, softmax
from ms_eff.train.precision import mixed_precision
from tests.tolerances import LAYER


def _tensor(*shape: int, seed: int = 0) -> ms.Tensor:
    return ms.Tensor(np.random.default_rng(seed).standard_normal(shape, dtype=np.float32))


class _Weighted(nn.Cell):
    def __init__(self, operator: object, cotangent: ms.Tensor) -> None:
        super().__init__()
        self.operator, self.cotangent = operator, cotangent

    def construct(self, *inputs):
        return ops.reduce_sum(self.operator(*inputs) * self.cotangent)


@pytest.mark.parametrize(
    ("ours", "plain", "inputs"),
    [
        (BiasAdd(), ops.BiasAdd(), (_tensor(7, 5), _tensor(5, seed=1))),
        (Softmax(), ops.Softmax(-1), (_tensor(2, 3, 4, 6),)),
    ],
)
def test_values_and_gradients_are_the_plain_operators(ours, plain, inputs) -> None:
    cotangent = _tensor(*inputs[0].shape, seed=2)
    np.testing.assert_array_equal(ours(*inputs).asnumpy(), plain(*inputs).asnumpy())
    which = tuple(range(len(inputs)))
    found, expected = (
        ms.grad(_Weighted(operator, cotangent), which)(*inputs) for operator in (ours, plain)
    )
    found, expected = (g if isinstance(g, tuple) else (g,) for g in (found, expected))
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one.asnumpy(), other.asnumpy(), rtol=LAYER, atol=LAYER)


def test_in_float16_a_bias_in_float32_has_a_gradient_in_float32() -> None:
    bias = ms.Parameter(_tensor(5), name="bias")
    net = _Biased(bias).to_float(ms.float16)
    grad = ms.grad(net, None, ms.ParameterTuple([bias]))(_tensor(7, 5, seed=1))
    grad = grad[0] if isinstance(grad, tuple) else grad
    assert grad.dtype == ms.float32
    np.testing.assert_allclose(grad.asnumpy(), np.full(5, 7.0))


class _Biased(nn.Cell):
    def __init__(self, bias: ms.Parameter) -> None:
        super().__init__()
        self.bias, self.add = bias, BiasAdd()

    def construct(self, x):
        return self.add(x, self.bias).sum()


@pytest.mark.parametrize("target", ["Ascend", "CPU"])
def test_other_backends_keep_their_own_operators(target, monkeypatch) -> None:
    monkeypatch.setattr(ms, "get_context", lambda _: target)
    expected = (BiasAdd, Softmax) if target == "CPU" else (ops.BiasAdd, ops.Softmax)
    assert (type(bias_add()), type(softmax())) == expected


def test_a_biass_gradient_is_float32_in_mixed_precision() -> None:
    """The optimisers' kernels take no other."""
    layer = projection(np.random.default_rng(0), 6, 4)
    mixed_precision(layer, "O2")

    def forward(x: ms.Tensor) -> ms.Tensor:
        return (layer(x) ** 2).sum()

    x = ms.Tensor(np.random.default_rng(1).standard_normal((5, 6)).astype(np.float32))
    weights = layer.trainable_params()
    for gradient in ms.grad(forward, None, weights)(x):
        assert gradient.dtype == ms.float32
