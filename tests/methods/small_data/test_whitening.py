"""Whitening filters in a network: what they replace, that they rest, that they travel."""

from __future__ import annotations

import mindspore as ms
import numpy as np
import pytest
from mindspore import Tensor, nn

from ms_eff import models
from ms_eff.bench.counts import count, totals
from ms_eff.bench.modes import execution_mode
from ms_eff.deploy.export import export
from ms_eff.errors import PlanError
from ms_eff.methods.base import ModelContext
from ms_eff.methods.lowrank import LowRank, LowRankSettings
from ms_eff.methods.small_data import (
    PatchWhitening,
    PatchWhiteningSettings,
    WhitenedConv,
    whitened,
)
from ms_eff.train import checkpoint
from tests.methods.small_data.problems import network_step
from tests.tolerances import LAYER

RNG = np.random.default_rng(0)
IMAGES = RNG.standard_normal((12, 3, 32, 32), dtype=np.float32)
LABELS = (np.arange(12) % 10).astype(np.int32)


def _batches():
    yield IMAGES[:8], LABELS[:8]
    yield IMAGES[8:], LABELS[8:]


CONTEXT = ModelContext((8, 3, 32, 32), _batches)


def _whitened(network=None, **settings):
    method = PatchWhitening(PatchWhiteningSettings(**settings))
    network = network or models.build("resnet9", width=4, form="competition")
    return method, method.change_model(network, CONTEXT)


def test_parameters_are_the_published_count() -> None:
    _, network = _whitened(models.build("resnet9", form="competition"))
    assert sum(p.size for p in network.trainable_params()) == 6_570_880
    assert network.prep.conv.whiten.filters.size == 729


def test_the_filters_work_as_their_formula_and_count_as_a_convolution() -> None:
    method, network = _whitened(models.build("resnet9", width=4), patch=2, both_signs=True)
    found = network.prep.conv.whiten(Tensor(IMAGES)).asnumpy()
    filters = network.prep.conv.whiten.filters.asnumpy()
    padded = np.pad(IMAGES, ((0, 0), (0, 0), (0, 1), (0, 1)))
    expected = sum(
        np.einsum("nchw,kc->nkhw", padded[:, :, y : y + 32, x : x + 32], filters[:, :, y, x])
        for y in range(2)
        for x in range(2)
    )
    np.testing.assert_allclose(found, expected, atol=20 * LAYER)
    plain, ours = (
        totals(count(net, (1, 3, 32, 32)))["macs"]
        for net in (models.build("resnet9", width=4), network)
    )
    assert ours - plain == 32 * 32 * (24 * 12 + 24 * 4 - 27 * 4)
    assert method.report["patches"] == 12 * 31 * 31


@pytest.mark.gate
def test_a_step_moves_everything_but_the_filters() -> None:
    _, network = _whitened()
    before = {p.name: p.asnumpy().copy() for p in network.get_parameters()}
    network_step(network, lr=0.1, weight_decay=0.1)(Tensor(IMAGES), Tensor(LABELS))
    after = {p.name: p.asnumpy() for p in network.get_parameters()}
    still = {name for name, array in before.items() if np.array_equal(after[name], array)}
    scales = {name for name in before if name.endswith("gamma")}
    assert still == {"prep.conv.whiten.filters"} | scales


@pytest.mark.gate
@pytest.mark.parametrize("patch", [2, 3])
def test_the_filters_are_exported(tmp_path, patch) -> None:
    filters = RNG.standard_normal((3 * patch**2, 3, patch, patch), dtype=np.float32)
    for format in ("mindir", "onnx"):
        export(WhitenedConv(filters, 4), tmp_path / f"net.{format}", (2, 3, 8, 8))


@pytest.mark.slow
@pytest.mark.parametrize("patch", [2, 3])
def test_a_saved_network_comes_back_with_its_filters_and_is_exported(tmp_path, patch) -> None:
    method, network = _whitened(patch=patch)
    arrays = {p.name: p.asnumpy() for p in network.get_parameters()}
    args = {"width": 4, "form": "competition"}
    state = {"model": {"name": "resnet9", "args": args}}
    state["plans"] = [{"method": "patch_whitening", "plan": method.plan}]
    checkpoint.save(tmp_path / "net", arrays, state)
    again = checkpoint.rebuild(tmp_path / "net")
    outputs = [n.set_train(False)(Tensor(IMAGES)).asnumpy() for n in (network, again)]
    np.testing.assert_array_equal(*outputs)
    for format in ("mindir", "onnx"):
        export(again, tmp_path / f"net.{format}", (2, 3, 32, 32))


def test_a_stem_of_stride_two_keeps_its_output_size() -> None:
    _, network = _whitened(models.build("resnet18", width=4))
    assert network.conv1(Tensor(IMAGES)).shape == (12, 4, 16, 16)


def test_low_rank_layers_come_after_and_leave_the_filters_alone() -> None:
    _, network = _whitened()
    lowrank = LowRank(LowRankSettings(ratio=2.0))
    network = lowrank.change_model(network, CONTEXT)
    assert isinstance(network.prep.conv.whiten.filters, ms.Parameter)
    assert any(layer["name"] == "residual3.block1.conv" for layer in lowrank.plan["layers"])
    dense = LowRank(LowRankSettings(rank=1, include=("prep.conv",)))
    decomposed = dense.change_model(models.build("resnet9", width=4), CONTEXT)
    with pytest.raises(PlanError, match="list it before methods that decompose"):
        _whitened(decomposed)


@pytest.mark.parametrize(
    ("network", "settings", "message"),
    [
        (nn.SequentialCell(nn.Dense(3, 3)), {}, "does not begin with a convolution"),
        (None, {"layer": "prep.cnov"}, r"no convolution 'prep.cnov' \(did you mean 'prep.conv'"),
        (None, {"layer": "layer1.conv"}, "does not begin with a convolution over patches of 3"),
    ],
)
def test_networks_that_do_not_fit_are_refused(network, settings, message) -> None:
    with pytest.raises(PlanError, match=message):
        _whitened(network, **settings)


def _stem(kernel=3, stride=1, pad_mode="pad", padding=1, **more) -> nn.Cell:
    return nn.SequentialCell(
        nn.Conv2d(3, 4, kernel, stride, pad_mode=pad_mode, padding=padding, **more)
    )


@pytest.mark.parametrize(
    ("stem", "what"),
    [
        ({"has_bias": True}, "a bias"),
        ({"kernel": 4, "stride": 4, "padding": 0}, "stride 4, above the patches' 3, pad_mode=pad"),
        ({"stride": (1, 2)}, "strides 1 and 2"),
        ({"pad_mode": "valid", "padding": 0}, "pad_mode=valid, padding=0"),
        ({"padding": 2, "dilation": 2}, "dilation 2"),
        ({"kernel": 4, "padding": 1}, "pad_mode=pad, padding=1"),
        ({"padding": (2, 0, 1, 0)}, r"pad_mode=pad, padding=\(2, 0, 1, 0\)"),
    ],
)
def test_a_stem_that_filters_cannot_stand_for_is_refused(stem, what) -> None:
    message = rf"^methods\.patch_whitening: convolution '0' of .* has {what}.*; name another layer"
    network = _stem(**stem)
    with pytest.raises(PlanError, match=message):
        PatchWhitening(PatchWhiteningSettings()).check(network, CONTEXT)
    with pytest.raises(PlanError, match=message):
        whitened(network, "0", np.zeros((27, 3, 3, 3), np.float32))


@pytest.mark.parametrize("patch", [2, 3])
@pytest.mark.parametrize(
    "stem",
    [
        {},
        {"pad_mode": "same", "padding": 0, "stride": 2},
        {"kernel": 7, "padding": 3, "stride": 2},
        {"kernel": 4, "padding": (1, 2, 0, 3)},
        {"kernel": 2, "padding": (0, 1, 0, 1), "stride": 2},
    ],
)
def test_what_stands_for_a_stem_gives_outputs_of_its_shape(stem, patch) -> None:
    network = _stem(**stem)
    new = whitened(network, "0", np.zeros((4, 3, patch, patch), np.float32))
    with execution_mode(ms.PYNATIVE_MODE):
        for size in ((8, 9), (7, 12)):
            images = Tensor(np.zeros((2, 3, *size), np.float32))
            assert new(images).shape == network(images).shape


def test_clips_are_refused() -> None:
    method = PatchWhitening(PatchWhiteningSettings())
    context = ModelContext((8, 4, 3, 32, 32), _batches)
    message = r"patch_whitening: is for images \(B, C, H, W\), .* are clips \(8, 4, 3, 32, 32\)"
    for hook in (method.check, method.change_model):
        with pytest.raises(PlanError, match=message):
            hook(models.build("eco_lite_small", width=4, frames=4), context)
