"""ResNet-9: counts, shapes, forms; cross_check compares it with torch."""

from __future__ import annotations

import mindspore as ms
import numpy as np
import pytest

from ms_eff import models
from ms_eff.bench.counts import count, totals
from ms_eff.deploy.export import export
from ms_eff.errors import ConfigError

NORM_CHANNELS = 64 + 3 * 128 + 256 + 3 * 512


def _trainable(network) -> int:
    return sum(p.size for p in network.trainable_params())


def test_parameters_are_the_published_count() -> None:
    baseline, competition = (models.build("resnet9", form=f) for f in ("baseline", "competition"))
    assert _trainable(baseline) == 6_573_120
    assert _trainable(competition) == 6_573_120 - NORM_CHANNELS == 6_570_880
    frozen = [p for p in competition.get_parameters() if p.name.endswith("gamma")]
    assert all((p.asnumpy() == 1).all() and not p.requires_grad for p in frozen)


def test_work_is_the_published_count() -> None:
    macs = totals(count(models.build("resnet9"), (1, 3, 32, 32)))["macs"]
    assert macs == pytest.approx(0.38e9, rel=0.01)


@pytest.mark.parametrize("side", [32, 24])
def test_other_sizes_fit_too(side) -> None:
    network = models.build("resnet9", width=4, num_classes=7)
    images = np.random.default_rng(0).standard_normal((3, 3, side, side), dtype=np.float32)
    assert network.set_train(False)(ms.Tensor(images)).shape == (3, 7)


@pytest.mark.gate
def test_logits_are_in_proportion_to_their_scale() -> None:
    images = ms.Tensor(np.random.default_rng(0).standard_normal((2, 3, 8, 8), dtype=np.float32))
    logits = [
        models.build("resnet9", width=2, logit_scale=s).set_train(False)(images).asnumpy()
        for s in (0.125, 1.0)
    ]
    np.testing.assert_allclose(8 * logits[0], logits[1], rtol=1e-6)


def test_dirac_convolutions_pass_their_input_on() -> None:
    network = models.build("resnet9", width=4, dirac=True)
    kernel = network.layer1.conv.weight.asnumpy()
    assert kernel.shape == (8, 4, 3, 3)
    np.testing.assert_array_equal(kernel[:4].sum((2, 3)), np.eye(4))
    np.testing.assert_array_equal(kernel[:4, :, 1, 1], np.eye(4))
    assert kernel[4:].all()
    assert network.prep.conv.weight.asnumpy().all()  # colours are not features


@pytest.mark.gate
def test_the_competition_form_is_exported(tmp_path) -> None:
    network = models.build("resnet9", width=2, form="competition")
    for format in ("mindir", "onnx"):
        export(network, tmp_path / f"net.{format}", (2, 3, 32, 32))


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ({"form": "fast"}, "form: expected baseline or competition, got 'fast'"),
        ({"activation": "gelu"}, "activation: expected relu or celu, got 'gelu'"),
        ({"width": 0}, "width: expected at least 1, got 0"),
        ({"logit_scale": 0.0}, "logit_scale: expected above 0, got 0"),
    ],
)
def test_settings_are_checked(args, message) -> None:
    with pytest.raises(ConfigError, match=message):
        models.build("resnet9", **args)
