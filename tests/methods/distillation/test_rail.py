from __future__ import annotations

import mindspore as ms
import numpy as np
import pytest
from mindspore import ParameterTuple, Tensor

from ms_eff.methods.distillation.rail import LayerDistance, pooled_layers
from tests.tolerances import LAYER

torch = pytest.importorskip("torch")

RNG = np.random.default_rng(0)
OWN = RNG.normal(size=(2, 5, 6)).astype(np.float32)
THEIRS = RNG.normal(size=(2, 5, 8)).astype(np.float32)


def _by_hand(own, theirs, first, second, form):
    if form == "concatenated":
        own, theirs = (x.transpose(0, 1).reshape(1, 5, -1) for x in (own, theirs))
    unit = [
        torch.nn.functional.normalize(torch.einsum("mbd,mdw->mbw", x, w), dim=-1)
        for x, w in ((own, first), (theirs, second))
    ]
    return ((unit[0] - unit[1]) ** 2).sum(-1).sum(0)


@pytest.mark.parametrize("form", ["layerwise", "concatenated"])
def test_distances_and_gradients_equal_torchs(form):
    cell = LayerDistance(2, (6, 8), 4, form, seed=1)
    weights = ParameterTuple(cell.trainable_params())

    def total(own, theirs):
        found = cell(own, theirs)
        return found.sum(), found

    (_, found), (of_own, of_weights) = ms.value_and_grad(total, 0, weights, has_aux=True)(
        Tensor(OWN), Tensor(THEIRS)
    )
    tensors = [
        torch.tensor(OWN),
        torch.tensor(THEIRS),
        *(torch.tensor(w.asnumpy()) for w in weights),
    ]
    for i in (0, 2, 3):
        tensors[i].requires_grad_()
    wanted = _by_hand(*tensors, form)
    wanted.sum().backward()
    np.testing.assert_allclose(found.asnumpy(), wanted.detach().numpy(), atol=LAYER)
    for own, other in zip((of_own, *of_weights), (tensors[0], *tensors[2:]), strict=True):
        np.testing.assert_allclose(own.asnumpy(), other.grad.numpy(), atol=LAYER)
    # only directions count
    scaled = cell(Tensor(OWN * 50), Tensor(THEIRS * 0.2)).asnumpy()
    np.testing.assert_allclose(scaled, found.asnumpy(), atol=LAYER)


@pytest.mark.parametrize("form", ["layerwise", "concatenated"])
def test_equal_directions_have_no_distance(form):
    cell = LayerDistance(2, (6, 6), 4, form, seed=1)
    cell.teacher.set_data(Tensor(cell.student.asnumpy()))
    found = cell(Tensor(OWN), Tensor(3 * OWN)).asnumpy()
    np.testing.assert_allclose(found, 0, atol=1e-6)
    assert (cell(Tensor(OWN), Tensor(-OWN)).asnumpy() > 1).all()


def test_layers_are_pooled_over_what_is_no_padding():
    hidden = RNG.normal(size=(3, 2, 4, 5)).astype(np.float32)
    tokens = np.array([[1, 1, 1, 0], [1, 0, 0, 0]], np.float32)
    found = pooled_layers(tuple(Tensor(h) for h in hidden), Tensor(tokens)).asnumpy()
    for layer in range(3):
        np.testing.assert_allclose(found[layer, 0], hidden[layer, 0, :3].mean(0), atol=LAYER)
        np.testing.assert_allclose(found[layer, 1], hidden[layer, 1, 0], atol=LAYER)
