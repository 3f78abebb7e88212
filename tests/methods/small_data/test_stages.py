"""Freezing and resizing: which weights and which pixels are left, and when."""

from __future__ import annotations

import numpy as np
import pytest
from mindspore import Tensor, nn

from ms_eff import models
from ms_eff.errors import PlanError
from ms_eff.methods.base import ModelContext
from ms_eff.methods.small_data import (
    ProgressiveFreezing,
    ProgressiveFreezingSettings,
    ProgressiveResizing,
    ProgressiveResizingSettings,
    Shrunk,
)
from ms_eff.train.step import Step
from tests.tolerances import LAYER
from tests.train.helpers import small_net, trainer, weights


def _freezing(**layers) -> ProgressiveFreezing:
    return ProgressiveFreezing(ProgressiveFreezingSettings(layers=layers))


def _resizing(**wishes) -> ProgressiveResizing:
    return ProgressiveResizing(ProgressiveResizingSettings(**wishes))


class Snapshots(ProgressiveFreezing):
    """Freezes, and looks at the weights after each epoch."""

    def on_epoch_end(self, event) -> None:
        self.__dict__.setdefault("seen", []).append(weights(event.model))


@pytest.mark.gate
def test_layers_rest_from_their_share_of_training_on(tmp_path) -> None:
    method = Snapshots(ProgressiveFreezingSettings(layers={"0": 0.5}))
    job = trainer(tmp_path, methods=[method], epochs=4, lr=0.05)
    job.fit()
    assert set(job.compiled) == {("",), ("0",)}
    first, second, third, fourth = method.seen
    assert not np.array_equal(first["0.weight"], second["0.weight"])
    np.testing.assert_array_equal(second["0.weight"], fourth["0.weight"])
    assert not np.array_equal(third["4.weight"], fourth["4.weight"])


def test_a_wrong_layer_is_named_before_training(tmp_path) -> None:
    for name in ("prep", "4.wei"):
        with pytest.raises(PlanError, match=f"'{name}' has no trained weight"):
            trainer(tmp_path, methods=[_freezing(**{name: 0.5})]).fit()
    everything = _freezing(**{"0": 0.5, "1": 0.5, "4": 0.5})
    with pytest.raises(PlanError, match="nothing would be trained"):
        trainer(tmp_path, methods=[everything]).fit()


class _Taught(nn.Cell):
    def __init__(self) -> None:
        super().__init__()
        self.teacher = models.build("vit", image_size=8, patch_size=4, dim=6, depth=1, heads=2)


def test_a_teacher_of_one_size_is_refused() -> None:
    step = Step(small_net(), _Taught(), ())
    assert _resizing(side=4).change_step(step, "") is step
    with pytest.raises(
        PlanError, match=r"a VisionTransformer beside the network takes images of one size"
    ):
        _resizing(side=4).change_step(step, "small")


class _Same(nn.Cell):
    def construct(self, inputs, labels):
        return labels, inputs


@pytest.mark.parametrize("side", [16, 24])
def test_a_smaller_image_has_the_means_of_its_areas(side) -> None:
    images = np.random.default_rng(0).standard_normal((2, 3, 32, 32), dtype=np.float32)
    _, small = Shrunk(_Same(), side)(Tensor(images), Tensor([0, 1]))
    # every pixel cut into side x side, then means of 32 x 32 of those
    fine = images.repeat(side, 2).repeat(side, 3)
    expected = fine.reshape(2, 3, side, 32, side, 32).mean((3, 5))
    np.testing.assert_allclose(small.asnumpy(), expected, atol=LAYER)


@pytest.mark.gate
def test_small_images_come_first(tmp_path) -> None:
    # the network takes any size
    net = small_net()
    net = nn.SequentialCell(*list(net)[:3], _Pooled(), nn.Dense(4, 3))
    method = _resizing(side=4, until=0.5)
    assert method.check(net, ModelContext((8, 1, 8, 8))) is net
    job = trainer(tmp_path, net, [method], epochs=2)
    job.fit()
    assert list(job.compiled) == [("small",), ("",)]


def test_a_side_that_is_not_smaller_or_not_taken_is_refused() -> None:
    with pytest.raises(PlanError, match="24 is not below the images' 8 x 8"):
        _resizing().check(small_net(), ModelContext((8, 1, 8, 8)))
    # its last layer counts the pixels
    message = (
        r"side = 4: SequentialCell does not take images of 4 x 4 in place of 8 x 8 \(.+\); use"
    )
    with pytest.raises(PlanError, match=message):
        _resizing(side=4).check(small_net(), ModelContext((8, 1, 8, 8)))


@pytest.mark.parametrize("pool", ["token", "mean"])  # `mean`: one token takes on all positions
def test_a_vit_has_a_position_for_each_patch(pool) -> None:
    vit = models.build("vit", image_size=8, patch_size=4, dim=12, depth=1, heads=3, pool=pool)
    message = "VisionTransformer does not take images of 4 x 4 .* made for one size"
    with pytest.raises(PlanError, match=message):
        _resizing(side=4).check(vit, ModelContext((8, 3, 8, 8)))


@pytest.mark.parametrize(
    ("shape", "kind"),
    [((8, 4, 1, 8, 8), r"clips \(8, 4, 1, 8, 8\)"), ((8, 16), r"texts \(8, 16\)")],
)
def test_other_inputs_than_images_are_refused(shape, kind) -> None:
    message = (
        rf"progressive_resizing: is for images \(B, C, H, W\), and these data are {kind}; leave"
    )
    with pytest.raises(PlanError, match=message):
        _resizing(side=4).check(small_net(), ModelContext(shape))


class _Pooled(nn.Cell):
    def construct(self, x):
        return x.mean((2, 3))
