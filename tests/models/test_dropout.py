from __future__ import annotations

import numpy as np
import pytest
from mindspore import Tensor

from ms_eff.models.dropout import Dropout, Masks


def test_a_share_is_dropped_and_the_mean_stays():
    layer = Dropout(Masks(64, 0.3, 0)).set_train(True)
    x = Tensor(np.ones((8, 50, 64), np.float32))
    first, second = layer(x).asnumpy(), layer(x).asnumpy()
    for y in (first, second):
        assert abs((y == 0).mean() - 0.3) < 0.02
        assert abs(y.mean() - 1) < 0.03
        np.testing.assert_allclose(y[y > 0], 1 / 0.7, rtol=1e-5)
    assert 0.3 < (first != second).mean() < 0.55  # 2 * 0.3 * 0.7 = 0.42 of independent masks


@pytest.mark.gate
def test_draws_go_on_from_where_the_counter_stands():
    x = Tensor(np.ones((4, 64), np.float32))
    layer, other = (Dropout(Masks(64, 0.5, 0)).set_train(True) for _ in range(2))
    layer(x)
    other.drawn.set_data(Tensor(layer.drawn.asnumpy()))
    np.testing.assert_array_equal(layer(x).asnumpy(), other(x).asnumpy())


@pytest.mark.gate
def test_layers_of_a_network_drop_differently_and_inference_drops_nothing():
    masks = Masks(64, 0.5, 0)
    layers = [Dropout(masks).set_train(True) for _ in range(2)]
    x = Tensor(np.ones((16, 64), np.float32))
    first, second = (layer(x).asnumpy() for layer in layers)
    assert 0.4 < (first != second).mean() < 0.6
    np.testing.assert_array_equal(layers[0].set_train(False)(x).asnumpy(), x.asnumpy())
