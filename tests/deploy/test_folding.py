"""The reference: the network itself, in inference mode."""

from __future__ import annotations

import numpy as np
import pytest
from mindspore import Tensor, nn

import ms_eff
from ms_eff.deploy.folding import norms_left
from ms_eff.errors import ConfigError
from ms_eff.models.resnet import Bottleneck, ResNet
from tests.methods.lowrank.networks import images, randomise, run
from tests.tolerances import FP32


def _norms(network: nn.Cell) -> int:
    return sum(
        isinstance(c, (nn.BatchNorm2d, nn.BatchNorm1d)) for _, c in network.cells_and_names()
    )


@pytest.mark.gate
@pytest.mark.parametrize("kind", ["dense", "decomposed", "merged"])
def test_all_norms_of_a_resnet_are_folded_and_the_function_stays(kind, tmp_path) -> None:
    network = randomise(ResNet(Bottleneck, (1, 1, 1, 1), num_classes=5, width=8, stem="imagenet"))
    if kind == "decomposed":
        network, _, _ = ms_eff.apply_lowrank(network, ratio=2.0)
    if kind == "merged":
        network, _, _ = ms_eff.merge_bottlenecks(network)
    expected = run(network.set_train(False), images(2, 3, 32, 32))
    folded, names = ms_eff.fold_norms(network, (1, 3, 32, 32))
    assert (len(names), _norms(folded), _norms(network)) == (17, 0, 17)
    found = run(folded, images(2, 3, 32, 32))
    np.testing.assert_allclose(found, expected, atol=FP32, rtol=FP32)
    for format in ("mindir", "onnx"):
        ms_eff.export(folded, tmp_path / f"net.{format}", (2, 3, 32, 32), format)


def test_a_dense_layer_takes_its_norm_and_one_with_an_activation_does_not() -> None:
    network = randomise(
        nn.SequentialCell(
            nn.Dense(6, 5, has_bias=False), nn.BatchNorm1d(5),
            nn.Dense(5, 4, activation="relu"), nn.BatchNorm1d(4),
        )
    )  # fmt: skip
    folded, names = ms_eff.fold_norms(network, (3, 6))
    assert names == ["1"]
    x = images(3, 6)
    np.testing.assert_allclose(
        run(folded, x), run(network.set_train(False), x), atol=FP32, rtol=FP32
    )


class Twice(nn.Cell):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 1)
        self.norm = nn.BatchNorm2d(4)

    def construct(self, x: Tensor) -> Tensor:
        y = self.conv(x)
        return self.norm(y) + y


@pytest.mark.gate
def test_what_can_be_folded_is_and_the_rest_stays() -> None:
    plain = [nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)]
    network = randomise(nn.SequentialCell(*plain, Twice(), nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4)))
    x = images(2, 3, 4, 4)
    expected = run(network.set_train(False), x)
    folded, names = ms_eff.fold_norms(network, (1, 3, 4, 4))
    assert (names, norms_left(folded)) == (["1", "4"], ["2.norm"])
    np.testing.assert_allclose(run(folded, x), expected, atol=FP32, rtol=FP32)


def test_what_cannot_be_folded_is_named() -> None:
    with pytest.raises(ConfigError, match=r"none of 1 .* before 'norm' is used besides its norm"):
        ms_eff.fold_norms(randomise(Twice()), (1, 3, 4, 4))
    with pytest.raises(ConfigError, match="no batch normalisation follows"):
        ms_eff.fold_norms(nn.SequentialCell(nn.Dense(4, 4)), (1, 4))
