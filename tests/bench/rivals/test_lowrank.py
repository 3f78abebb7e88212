"""The references are tensorly's own composition and NumPy's SVD."""

from __future__ import annotations

import mindspore as ms
import numpy as np
import pytest
from mindspore import nn

from ms_eff.bench.rivals.lowrank import TensorlyTucker, svd_network
from ms_eff.methods.lowrank.layers import Layer, find_layers, network_params
from ms_eff.methods.lowrank.tucker import composed, tucker2
from tests.tolerances import HOST, LAYER


class _Net(nn.Cell):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(
            6, 12, 3, stride=2, pad_mode="pad", padding=1, has_bias=True, bias_init="normal"
        )
        self.fc = nn.Dense(12, 10)

    def construct(self, x: ms.Tensor) -> ms.Tensor:
        return self.fc(self.conv(x).mean((2, 3)))


def _layer() -> Layer:
    return next(layer for layer in find_layers(_Net()) if layer.kind == "conv")


def test_tensorlys_factors_compose_to_its_own_tensor_and_ours_are_no_worse() -> None:
    tenalg = pytest.importorskip("tensorly.tenalg")
    decomposition = pytest.importorskip("tensorly.decomposition")
    weight = np.random.default_rng(0).standard_normal((12, 6, 3, 3))
    (core, factors), _ = decomposition.partial_tucker(weight, rank=[5, 3], modes=[0, 1])
    theirs = tenalg.multi_mode_dot(core, factors, modes=[0, 1])
    found = TensorlyTucker().tucker(_layer(), weight, (3, 5))
    assert [part.shape for part in found] == [(3, 6, 1, 1), (5, 3, 3, 3), (12, 5, 1, 1)]
    np.testing.assert_allclose(composed(*found), theirs, atol=HOST)
    ours = composed(*tucker2(weight, (3, 5)))
    assert np.linalg.norm(weight - ours) <= np.linalg.norm(weight - theirs) * (1 + 1e-12)


def test_plain_svd_is_the_network_with_the_best_matrices_of_that_rank() -> None:
    network = _Net()
    found, layers = svd_network(network, 0.6)
    assert layers == 2
    assert network_params(found) <= 0.6 * network_params(network)
    names = [parameter.name for parameter in found.get_parameters()]
    assert len(set(names)) == len(names)
    expected = _Net()
    ms.load_param_into_net(expected, {p.name: p for p in network.get_parameters()})
    for name in ("conv", "fc"):
        cell = getattr(expected, name)
        weight = cell.weight.asnumpy()
        U, sigma, V = np.linalg.svd(weight.reshape(len(weight), -1), full_matrices=False)
        rank = len(getattr(found, name).first.weight)
        cut = (U[:, :rank] * sigma[:rank]) @ V[:rank]
        cell.weight.set_data(ms.Tensor(cut.reshape(weight.shape)))
    x = ms.Tensor(np.random.default_rng(1).standard_normal((2, 6, 8, 8), dtype=np.float32))
    np.testing.assert_allclose(found(x).asnumpy(), expected(x).asnumpy(), rtol=LAYER, atol=LAYER)
