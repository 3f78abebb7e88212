from __future__ import annotations

import numpy as np
import pytest

from ms_eff import models
from ms_eff.methods.base import ModelContext
from ms_eff.methods.skipvit import SkipViT, SkipViTSettings
from ms_eff.train.interrupt import Interrupted
from tests.methods.skipvit.networks import SIZES, lively_vit
from tests.train.helpers import small_feed, trainer, weights
from tests.train.test_trainer import StopAt

FEED = {"channels": 3, "image_size": 16}


def _method(**settings) -> SkipViT:
    return SkipViT(SkipViTSettings(**{"score_block": 0, "merge_block": 2, **settings}))


def _changed(method: SkipViT, depth: int = 3):
    return method.change_model(lively_vit(depth=depth), ModelContext((8, 3, 16, 16)))


def _run(folder, network, *methods, **options):
    options = {"lr": 1e-2, "optimizer": "sgd", **options}
    return trainer(folder, network, methods, small_feed(**FEED), **options)


@pytest.mark.gate
def test_two_phases_are_compiled_once_each(tmp_path) -> None:
    method = _method(warmup=0.5)
    job = _run(tmp_path, _changed(method, depth=2), method, epochs=2)
    assert method.report["reduced_blocks"] == 1
    assert 0.1 < method.report["ideal_gain"] < 0.8
    rows = job.fit()
    assert list(job.compiled) == [("warm-up",), ("routed",)]
    assert all(len(step.compile_cache) == 1 for step in job.compiled.values())
    assert rows[-1]["train_loss"] < rows[0]["train_loss"]


@pytest.mark.slow  # what it rests on is held in test_surgery.py, without a trainer
def test_warm_up_trains_as_the_plain_network_would(tmp_path) -> None:
    method = _method(warmup=1.0)
    network, plain = _changed(method), lively_vit(depth=3)
    _run(tmp_path / "routed", network, method, epochs=1).fit()
    _run(tmp_path / "plain", plain, epochs=1).fit()
    for name, array in weights(plain).items():
        np.testing.assert_allclose(weights(network)[name], array, rtol=1e-4, atol=1e-5)


@pytest.mark.slow  # likewise
def test_a_stopped_run_with_random_scores_resumes_bit_for_bit(tmp_path) -> None:
    method = _method(score="random", warmup=0.4)
    network = _changed(method)
    _run(tmp_path / "whole", network, method, epochs=2).fit()
    stop = StopAt(method.settings)
    stop.at = 8  # of 6 steps an epoch: within the second
    cut = SkipViT.rebuild(lively_vit(depth=3), method.plan)
    job = _run(tmp_path / "cut", cut, _method(score="random", warmup=0.4), stop, epochs=2)
    with pytest.raises(Interrupted):
        job.fit()
    stop.at = -1
    fresh = SkipViT.rebuild(models.build("vit", **{**SIZES, "depth": 3}, seed=9), method.plan)
    again = _method(score="random", warmup=0.4)
    job = _run(tmp_path / "cut", fresh, again, stop, epochs=2)
    job.fit()
    assert list(job.compiled) == [("routed", "")]
    for name, array in weights(network).items():
        np.testing.assert_array_equal(weights(fresh)[name], array, err_msg=name)
