"""What the methods cannot do is said before anything is trained, whatever comes first in a run."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from ms_eff.config import Config
from ms_eff.errors import UserError
from ms_eff.experiment import Experiment
from tests.method_settings import NETWORKS


@pytest.mark.parametrize(
    ("network", "data", "methods", "message"),
    [
        (
            "vit",
            {},
            {"progressive_resizing": {"side": 4}},
            "VisionTransformer does not take images",
        ),
        ("clips", {}, {"progressive_resizing": {"side": 4}}, "progressive_resizing: is for images"),
        ("clips", {}, {"patch_whitening": {}}, "patch_whitening: is for images"),
        ("vit", {}, {"patch_whitening": {}}, "does not begin with a convolution over patches"),
        ("vit", {}, {"ghost_batch_norm": {"splits": 2}}, "has no batch normalisation; leave"),
        (
            "resnet9",
            {},
            {"progressive_freezing": {"layers": {"layer4": 0.5}}},
            r"'layer4' has no trained weight .did you mean 'layer",
        ),
        (
            "resnet9",
            {},
            {"meta_learning": {}, "ghost_batch_norm": {"splits": 4}},
            "batch_size = 8: .* a multiple of 4 x 4 = 16",
        ),
        ("vit", {"drop_last": False}, {"meta_learning": {}}, "drop_last = false: 'meta_learning'"),
    ],
)
def test_nothing_is_trained_before(network, data, methods, message, tmp_path) -> None:
    model, given = NETWORKS[network]
    config = Config(
        output=tmp_path,
        model=model,
        data={**given, **data},
        pretrain={"epochs": 1},
        train={"epochs": 1},
        methods=tuple({name: block} for name, block in methods.items()),
    )
    with pytest.raises(UserError, match=message):
        Experiment(config, "test", Console(file=io.StringIO())).train()
    assert not (tmp_path / "pretrain").exists()
