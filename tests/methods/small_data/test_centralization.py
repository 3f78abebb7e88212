"""Gradient centralization: what becomes of each kind of weight, and where in the step it acts."""

from __future__ import annotations

import numpy as np
import pytest
from mindspore import Parameter, Tensor

from ms_eff.methods.small_data import (
    SAM,
    GradientCentralization,
    GradientCentralizationSettings,
    SAMSettings,
    centralize_all,
    centralize_convolutions,
)
from tests.methods.small_data.problems import batch, network_step
from tests.tolerances import LAYER
from tests.train.helpers import small_net, weights

RNG = np.random.default_rng(0)


def _gradient(*shape: int) -> tuple[Parameter, Tensor]:
    values = RNG.standard_normal(shape).astype(np.float32)
    return Parameter(Tensor(np.zeros(shape, np.float32))), Tensor(values)


@pytest.mark.parametrize("shape", [(5, 7), (4, 3, 3, 3), (4, 2, 3, 3, 3)])
def test_each_output_channel_has_mean_zero_and_stays_so(shape) -> None:
    weight, grad = _gradient(*shape)
    once = centralize_all(weight, grad)
    axes = tuple(range(1, len(shape)))
    np.testing.assert_allclose(once.asnumpy().mean(axes), 0.0, atol=LAYER)
    expected = grad.asnumpy() - grad.asnumpy().mean(axes, keepdims=True)
    np.testing.assert_allclose(once.asnumpy(), expected, atol=LAYER)
    np.testing.assert_allclose(centralize_all(weight, once).asnumpy(), expected, atol=LAYER)


def test_vectors_and_for_conv_dense_layers_are_untouched() -> None:
    for shape, function in (((6,), centralize_all), ((5, 7), centralize_convolutions)):
        weight, grad = _gradient(*shape)
        np.testing.assert_array_equal(function(weight, grad).asnumpy(), grad.asnumpy())
    weight, grad = _gradient(4, 3, 3, 3)
    both = [f(weight, grad).asnumpy() for f in (centralize_all, centralize_convolutions)]
    np.testing.assert_array_equal(*both)


@pytest.mark.gate
@pytest.mark.parametrize("sharp", [pytest.param(False, marks=pytest.mark.slow), True])
def test_decay_is_centralised_too_and_so_is_the_gradient_of_sam(sharp) -> None:
    images, labels = batch()
    moved = []
    settings = GradientCentralizationSettings(layers="all")
    for methods in ([], [GradientCentralization(settings)]):
        net = small_net()
        before = weights(net)
        chosen = [*([SAM(SAMSettings(rho=0.2))] if sharp else []), *methods]
        network_step(net, *chosen, weight_decay=0.1)(images, labels)
        moved.append({name: before[name] - array for name, array in weights(net).items()})
    plain, central = moved
    for name in ("0.weight", "4.weight"):
        axes = tuple(range(1, plain[name].ndim))
        expected = plain[name] - plain[name].mean(axes, keepdims=True)
        np.testing.assert_allclose(central[name], expected, atol=LAYER)
    np.testing.assert_array_equal(central["4.bias"], plain["4.bias"])
