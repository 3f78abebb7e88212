"""The references are the layers' own outputs, and gradients worked out by hand."""

from __future__ import annotations

import mindspore as ms
import numpy as np
import pytest
from mindspore import Tensor, nn, ops

from ms_eff.errors import DataError
from ms_eff.methods.lowrank.calibrate import Batch, Loss, collect_moments
from ms_eff.methods.lowrank.layers import find_layers, read_weight
from ms_eff.methods.lowrank.moments import Moments
from ms_eff.methods.lowrank.weighted import weighted_loss
from tests.methods.lowrank.networks import Everything, images, randomise, run, weights
from tests.methods.lowrank.test_surgery import GEOMETRIES
from tests.tolerances import FP32, LAYER

Array = np.ndarray


def collected(network: nn.Cell, *batches: Batch, **options: object) -> dict[str, Moments]:
    layers = [layer for layer in find_layers(network) if not layer.reason]
    return collect_moments(network, layers, batches, **options)


def softmax(logits: Array) -> Array:
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


def mean_product(rows: Array) -> Array:
    flat = rows.reshape(-1, rows.shape[-1]).astype(np.float64)
    return flat.T @ flat / len(flat)


@pytest.mark.parametrize("layer", GEOMETRIES)
def test_inputs_explain_the_outputs_energy(layer: nn.Conv2d) -> None:
    randomise(layer)
    if layer.has_bias:
        layer.bias.set_data(Tensor(np.zeros(layer.bias.shape, np.float32)))
    x = images(3, layer.in_channels, 11, 10)
    found = collected(layer, x.asnumpy(), gradients=False)[""]
    (described,) = find_layers(layer)
    energy = weighted_loss(read_weight(described), found.inputs)
    assert energy == pytest.approx(np.sum(run(layer, x) ** 2) / 3, rel=1e-5)
    assert found.gradients is None


class TwoLayers(nn.Cell):
    """A tanh within a dense layer, then the logits."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden = nn.Dense(6, 5, activation="tanh")
        self.out = nn.Dense(5, 3)

    def construct(self, x: Tensor) -> Tensor:
        return self.out(self.hidden(x))


def test_moments_of_a_perceptron_are_those_of_backpropagation() -> None:
    network = randomise(TwoLayers())
    x, y = images(40, 6).asnumpy(), np.arange(40) % 3
    found = collected(network, (x[:25], y[:25]), (x[25:], y[25:]))
    hidden, out = network.hidden, network.out
    h = np.tanh(x @ hidden.weight.asnumpy().T + hidden.bias.asnumpy())
    g = softmax(h @ out.weight.asnumpy().T + out.bias.asnumpy()) - np.eye(3)[y]
    before = (g @ out.weight.asnumpy()) * (1 - h**2)  # at the outputs before the activation
    for name, inputs, gradients in (("hidden", x, before), ("out", h, g)):
        np.testing.assert_allclose(found[name].inputs, mean_product(inputs), atol=LAYER)
        np.testing.assert_allclose(found[name].gradients, mean_product(gradients), atol=LAYER)
    assert hidden.activation_flag
    np.testing.assert_allclose(run(hidden, Tensor(x)), h, atol=LAYER)


class Pooled(nn.Cell):
    """A convolution, called twice, the mean over pixels, the logits."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(4, 4, 3, pad_mode="same")
        self.fc = nn.Dense(4, 3)
        self.idle = nn.Dense(2, 2)

    def construct(self, x: Tensor) -> Tensor:
        return self.fc(self.conv(self.conv(x)).mean((2, 3)))


def test_every_call_counts_and_a_layer_without_any_is_left_out() -> None:
    network = randomise(Pooled())
    x, y = images(8, 4, 5, 5), np.arange(8) % 3
    found = collected(network, (x.asnumpy(), y))
    assert set(found) == {"conv", "fc"}
    once = network.conv(x)
    (layer,) = (layer for layer in find_layers(network) if layer.name == "conv")
    energy = weighted_loss(read_weight(layer), found["conv"].inputs)
    both = np.sum(once.asnumpy() ** 2) + np.sum(network.conv(once).asnumpy() ** 2)
    assert energy == pytest.approx(both / 8, rel=1e-4)

    g = (softmax(run(network, x)) - np.eye(3)[y]) @ network.fc.weight.asnumpy() / 25
    last = np.broadcast_to(g[:, :, None, None], (8, 4, 5, 5))
    padded, kernel = np.pad(last, ((0, 0), (0, 0), (1, 1), (1, 1))), network.conv.weight.asnumpy()
    first = sum(  # the transposed convolution, tap by tap
        np.einsum("nshw,sc->nchw", padded[:, :, 2 - a : 7 - a, 2 - b : 7 - b], kernel[:, :, a, b])
        for a in range(3)
        for b in range(3)
    )
    rows = [np.moveaxis(a, 1, -1).reshape(-1, 4) for a in (last, first)]
    np.testing.assert_allclose(
        found["conv"].gradients, mean_product(np.concatenate(rows)), atol=LAYER
    )


def mean_entropy(outputs: Tensor, labels: Tensor) -> Tensor:
    return ops.cross_entropy(outputs, labels)


@pytest.mark.parametrize("loss", [None, mean_entropy])
def test_samples_are_counted_and_the_batches_size_does_not_matter(loss: Loss | None) -> None:
    network = randomise(TwoLayers())
    x, y = images(40, 6).asnumpy(), np.arange(40) % 3
    whole = collected(network, (x[:30], y[:30]))
    cut = collected(network, *((x[i : i + 7], y[i : i + 7]) for i in range(0, 40, 7)),
                    samples=30, loss=loss)  # fmt: skip
    for name in whole:
        np.testing.assert_allclose(cut[name].inputs, whole[name].inputs, rtol=1e-6, atol=1e-9)
        np.testing.assert_allclose(cut[name].gradients, whole[name].gradients, rtol=FP32, atol=1e-7)


def test_drawn_labels_give_the_true_fisher_matrix() -> None:
    network = randomise(nn.Dense(4, 3))
    x = images(6000, 4).asnumpy()
    found = collected(network, (x, None), samples=6000)[""]
    p = softmax(run(network, Tensor(x)))
    fisher = np.mean(p[:, :, None] * (np.eye(3) - p[:, None, :]), axis=0)
    np.testing.assert_allclose(found.gradients, fisher, atol=0.02)
    again = collected(network, x, samples=6000)[""]
    np.testing.assert_array_equal(again.gradients, found.gradients)


def test_the_network_is_given_back_as_it_was() -> None:
    network = randomise(Everything()).set_train(True)
    network.tied.set_train(False)
    before = weights(network)
    expected = run(network.set_train(False), images(2, 8, 12, 12))
    network.set_train(True)
    collected(network, (images(4, 8, 12, 12).asnumpy(), np.arange(4)))
    assert all(cell.training for _, cell in network.cells_and_names())
    assert not any("construct" in cell.__dict__ for _, cell in network.cells_and_names())
    assert ms.get_context("mode") == ms.GRAPH_MODE
    for name, value in weights(network).items():
        np.testing.assert_array_equal(value, before[name])
    np.testing.assert_array_equal(run(network.set_train(False), images(2, 8, 12, 12)), expected)


def test_no_data_and_foreign_data_are_refused() -> None:
    network = randomise(TwoLayers())
    with pytest.raises(DataError, match="calibration: no batch came"):
        collected(network)
    with pytest.raises(DataError, match=r"TwoLayers does not take a batch of \(2, 7\)"):
        collected(network, np.zeros((2, 7), np.float32))
    with pytest.raises(DataError, match=r"calibration: .* give \(inputs, labels\)"):
        collected(network, (np.zeros((4, 6), np.float32), np.zeros(3, np.int32)))
    assert not any("construct" in cell.__dict__ for _, cell in network.cells_and_names())
