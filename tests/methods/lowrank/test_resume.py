"""A stopped run of a merged or branched network ends with the weights of an uninterrupted one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from mindspore import nn

from ms_eff.methods.base import ModelContext
from ms_eff.methods.lowrank.method import LowRank
from ms_eff.methods.lowrank.settings import make_settings
from ms_eff.models.resnet import Bottleneck
from ms_eff.train.interrupt import Interrupted
from tests.methods.lowrank.networks import randomise
from tests.train.helpers import trainer, weights
from tests.train.test_trainer import StopAt, assert_same


def net(seed: int = 0) -> nn.Cell:
    rng = np.random.default_rng(seed)
    layers = nn.Conv2d(1, 16, 3, 2), Bottleneck(rng, 16, 4, 1), nn.Flatten(), nn.Dense(16 * 16, 3)
    return randomise(nn.SequentialCell(*layers), seed)


def run(folder: Path, network: nn.Cell, method: LowRank, stop: StopAt):
    options = {"epochs": 2, "optimizer": "momentum", "warmup_epochs": 0.0, "lr": 0.01}
    return trainer(folder, net=network, methods=(method, stop), **options)


@pytest.mark.slow  # as every method in tests/test_every_method.py
@pytest.mark.parametrize(
    "wishes",
    [
        {"merge": 0.5, "merge_bias": False, "branches": 2},
        {"rank": 2, "branches": 2, "layers": ["conv"], "include": ["1.conv2"]},
    ],
    ids=["merged", "branched"],
)
def test_it_resumes_bit_for_bit(tmp_path, wishes) -> None:
    method = LowRank(make_settings(wishes))
    context = ModelContext((8, 1, 8, 8))
    whole = method.change_model(net(), context)
    stop = StopAt(method.settings)
    stop.at = -1
    run(tmp_path / "whole", whole, method, stop).fit()
    stop.at = 8  # of 6 steps an epoch: within the second
    with pytest.raises(Interrupted):
        run(tmp_path / "cut", method.change_model(net(), context), method, stop).fit()
    stop.at = -1
    # a later process: rebuilt from the plan, other weights
    fresh = randomise(LowRank.rebuild(net(7), method.plan), seed=8)
    run(tmp_path / "cut", fresh, LowRank(method.settings, plan=method.plan), stop).fit()
    assert_same(weights(whole), weights(fresh))
