"""Gradient centralization: what becomes of each kind of weight, and where in the step it acts."""

from __future__ import annotations

import numpy as np
import pytest
from mindspore import Tensor, nn

from ms_eff import models
from ms_eff.errors import PlanError
from ms_eff.methods.base import ModelContext
from ms_eff.methods.small_data import (
    SAM,
    GradientCentralization,
    GradientCentralizationSettings,
    SAMSettings,
    centralize,
    centralized_weights,
)
from tests.methods.small_data.problems import batch, network_step
from tests.tolerances import LAYER
from tests.train.helpers import small_net, weights

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("shape", [(5, 7), (4, 3, 3, 3), (4, 2, 3, 3, 3)])
def test_each_output_channel_has_mean_zero_and_stays_so(shape) -> None:
    grad = RNG.standard_normal(shape).astype(np.float32)
    once = centralize(Tensor(grad))
    axes = tuple(range(1, len(shape)))
    np.testing.assert_allclose(once.asnumpy().mean(axes), 0.0, atol=LAYER)
    expected = grad - grad.mean(axes, keepdims=True)
    np.testing.assert_allclose(once.asnumpy(), expected, atol=LAYER)
    np.testing.assert_allclose(centralize(once).asnumpy(), expected, atol=LAYER)


class Everything(nn.Cell):
    """A layer of each kind."""

    def __init__(self) -> None:
        super().__init__()
        self.line = nn.Conv1d(2, 2, 3)
        self.plane = nn.Conv2d(2, 2, 3, group=2, has_bias=True)
        self.space = nn.Conv3d(2, 2, 3)
        self.back = nn.Conv2dTranspose(2, 2, 3)
        self.dense = nn.Dense(2, 2)
        self.words = nn.Embedding(3, 2)
        self.norm = nn.BatchNorm2d(2)


def test_weights_are_chosen_by_the_kind_of_their_layer() -> None:
    convolutions = {"line.weight", "plane.weight", "space.weight"}
    assert centralized_weights(Everything(), "conv") == convolutions
    assert centralized_weights(Everything(), "all") == convolutions | {"dense.weight"}


@pytest.mark.parametrize("pool", ["token", "mean"])
def test_a_vit_has_the_layers_that_torch_says(pool) -> None:
    torch = pytest.importorskip("torch")
    from cross_check.twins.vit import plain_vit

    args = {"image_size": 8, "patch_size": 4, "dim": 12, "depth": 1, "heads": 3, "pool": pool}
    ours, twin = models.build("vit", num_classes=3, **args), plain_vit(num_classes=3, **args)
    for layers, kinds in (
        ("conv", (torch.nn.Conv2d,)),
        ("all", (torch.nn.Conv2d, torch.nn.Linear)),
    ):
        expected = {f"{n}.weight" for n, m in twin.named_modules() if isinstance(m, kinds)}
        assert centralized_weights(ours, layers) == expected


def test_a_network_without_such_layers_is_refused() -> None:
    words = nn.SequentialCell(nn.Embedding(3, 2), nn.Dense(2, 2))
    method = GradientCentralization(GradientCentralizationSettings())
    message = "layers = conv: SequentialCell has no convolution; use all, or leave the method out"
    with pytest.raises(PlanError, match=message):
        method.check(words, ModelContext((8, 4)))
    with pytest.raises(PlanError, match="layers = all: SequentialCell has no convolution or dense"):
        centralized_weights(nn.SequentialCell(nn.Embedding(3, 2)), "all")


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
