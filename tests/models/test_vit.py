from __future__ import annotations

import numpy as np
import pytest

from ms_eff import models
from ms_eff.errors import ConfigError

# timm's counts at 224 x 224, 1000 classes
PARAMETERS = {
    "vit_tiny_patch16": 5_717_416,
    "vit_tiny_patch32": 6_131_560,
    "vit_small_patch16": 22_050_664,
    "vit_small_patch32": 22_878_952,
    "vit_base_patch16": 86_567_656,
    "vit_base_patch32": 88_224_232,
}
SMALL = {"image_size": 8, "patch_size": 4, "dim": 16, "depth": 2, "heads": 2, "num_classes": 5}


@pytest.mark.parametrize("name", PARAMETERS)
def test_parameter_count_is_timms(name: str) -> None:
    network = models.build(name)
    assert sum(p.size for p in network.trainable_params()) == PARAMETERS[name]


def test_seed_decides_the_initial_weights() -> None:
    first, same, other = (
        dict(models.build("vit", **SMALL, seed=seed).parameters_and_names()) for seed in (3, 3, 4)
    )
    name = "blocks.1.attn.qkv.weight"
    assert all(np.array_equal(p.asnumpy(), same[key].asnumpy()) for key, p in first.items())
    assert not np.array_equal(first[name].asnumpy(), other[name].asnumpy())


def test_initial_weights_are_truncated_normal() -> None:
    weight = models.build("vit_tiny_patch16", depth=1).blocks[0].mlp.fc1.weight.asnumpy()
    assert np.abs(weight).max() <= 0.04
    # cutting at 2 std leaves 0.8796 of it
    assert weight.std() == pytest.approx(0.02 * 0.8796, rel=0.02)


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ({"dim": 0}, "dim: expected at least 1"),
        ({"heads": 3}, "heads: 3 does not divide dim = 16"),
        ({"image_size": 9}, "image_size: 9 x 9 is no multiple of patch_size = 4"),
        ({"image_size": (8, 2)}, "image_size: 8 x 2"),
        ({"pool": "max"}, "pool: expected 'token' or 'mean', got 'max'"),
    ],
)
def test_bad_arguments_are_named(args, message) -> None:
    with pytest.raises(ConfigError, match=message):
        models.build("vit", **{**SMALL, **args})
