from __future__ import annotations

import numpy as np
import pytest
from mindspore import nn

from ms_eff import models
from ms_eff.errors import ConfigError
from ms_eff.methods.replace import replaced
from ms_eff.models.resnet import Bottleneck
from ms_eff.train.recompute import recompute_blocks
from tests.methods.lowrank.networks import randomise
from tests.train.helpers import small_feed, small_net, trainer, weights

VIT = {"image_size": 8, "patch_size": 4, "dim": 8, "depth": 2, "heads": 2}
STAGES = [f"layer{stage}.{block}" for stage in range(1, 5) for block in (0, 1)]
BERT = {"dim": 8, "depth": 1, "heads": 2, "hidden": 16, "vocab": 10, "positions": 8}


@pytest.mark.parametrize(
    ("name", "args", "expected"),
    [
        ("vit", {"num_classes": 3, **VIT}, ["blocks.0", "blocks.1"]),
        ("resnet18", {"num_classes": 3, "width": 8}, STAGES),
        ("bert", {"num_classes": 2, "dropout": 0.0, **BERT}, ["blocks.0"]),
    ],
)
def test_blocks_are_the_residual_blocks_and_the_layers_of_transformers(name, args, expected):
    assert recompute_blocks(models.build(name, **args, seed=0)) == expected


def test_networks_that_cannot_are_refused():
    with pytest.raises(ConfigError, match="SequentialCell has no repeated blocks"):
        recompute_blocks(small_net())
    with pytest.raises(ConfigError, match=r"block 'blocks\.0' has dropout.*model\.dropout=0"):
        recompute_blocks(models.build("bert", num_classes=2, dropout=0.1, **BERT, seed=0))


def net() -> nn.Cell:
    rng = np.random.default_rng(1)
    blocks = [Bottleneck(rng, 4, 1, 1), Bottleneck(rng, 4, 1, 1)]
    ends = nn.Conv2d(1, 4, 3, 2), nn.Flatten(), nn.Dense(64, 3)
    return randomise(nn.SequentialCell(ends[0], nn.SequentialCell(blocks), *ends[1:]))


@pytest.mark.gate
def test_weights_and_statistics_are_those_of_plain_training(tmp_path):
    """The running statistics too: they must not move twice."""
    found = []
    for recompute in (False, True):
        options = {"epochs": 1, "recompute": recompute, "optimizer": "sgd", "lr": 0.01}
        feed = small_feed(train_size=16, augment="none")
        run = trainer(tmp_path / str(recompute), net(), feed=feed, **options)
        run.fit()
        found.append(weights(run.model))
    names = [p.name for p in run.model.get_parameters()]  # methods still can change the network
    assert [p.name for p in replaced(run.model, []).get_parameters()] == names
    for name, array in found[0].items():
        np.testing.assert_allclose(found[1][name], array, atol=1e-6, err_msg=name)
