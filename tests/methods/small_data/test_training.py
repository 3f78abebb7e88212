"""The methods in whole runs: together, resumed."""

from __future__ import annotations

import numpy as np
import pytest

from ms_eff import models
from ms_eff.deploy.export import export
from ms_eff.methods.base import Method, ModelContext
from ms_eff.methods.registry import method_class, settings_class
from ms_eff.section import Section
from ms_eff.train.interrupt import Interrupted
from tests.train.helpers import small_feed, trainer, weights
from tests.train.test_trainer import StopAt

FEED = {"channels": 3, "image_size": 16, "augment": "crop_alternate"}
TOGETHER = {
    "patch_whitening": {"patch": 2, "both_signs": True},
    "lowrank": {"ratio": 2.0, "exclude": ("prep*", "fc")},
    "ghost_batch_norm": {"splits": 2},
    "sam": {"rho": 0.05, "every": 2},
    "gradient_centralization": {"layers": "all"},
    "progressive_freezing": {"layers": {"layer1": 0.7}},
}


def _methods(**chosen) -> list[Method]:
    return [method_class(name)(settings_class(name)(**block)) for name, block in chosen.items()]


def _network(seed: int = 0):
    return models.build("resnet9", width=4, num_classes=3, form="competition", seed=seed)


def _changed(methods: list[Method], feed):
    def batches():
        yield feed.data.train.batch(np.arange(48))

    network = _network()
    for method in methods:
        network = method.change_model(network, ModelContext((8, 3, 16, 16), batches))
    return network


def _rebuilt(methods: list[Method]):
    network = _network(seed=7)
    for method in methods:
        if method.plan is not None:
            network = type(method).rebuild(network, method.plan)
    return network


@pytest.mark.slow
def test_all_together_resume_to_the_same_weights_and_are_exported(tmp_path) -> None:
    settings = {"epochs": 2, "ema": 0.9, "ema_every": 2, "bias_lr_ratio": 8.0, "lr": 0.02}
    feed = small_feed(**FEED)
    methods = _methods(**TOGETHER)
    whole = trainer(tmp_path / "whole", _changed(methods, feed), methods, feed, **settings)
    whole.fit()
    stop = StopAt(Section())  # at step 8 of 12, in the second epoch
    cut = trainer(tmp_path / "cut", _changed(methods, feed), [*methods, stop], feed, **settings)
    with pytest.raises(Interrupted):
        cut.fit()
    stop.at = -1
    fresh = _methods(**TOGETHER)
    again = trainer(tmp_path / "cut", _rebuilt(methods), [*fresh, stop], feed, **settings)
    again.fit()
    found = weights(again.model)
    for name, array in weights(whole.model).items():
        np.testing.assert_array_equal(found[name], array, err_msg=name)
    for format in ("mindir", "onnx"):
        export(again.model, tmp_path / f"net.{format}", (2, 3, 16, 16))
