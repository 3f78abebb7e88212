"""Low-rank networks of every kind leave as files: the exporter itself compares the outputs."""

from __future__ import annotations

import numpy as np
import pytest
from mindspore import Tensor, nn

import ms_eff
from ms_eff.deploy.export import export
from ms_eff.deploy.inputs import InputSpec
from tests.methods.lowrank.networks import randomise
from tests.tolerances import EXPORT

FORMATS = pytest.mark.parametrize("format", ["mindir", "onnx"])


class Words(nn.Cell):
    """An embedding and a classifier over the mean of its tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(50, 24)
        self.head = nn.Dense(24, 16)

    def construct(self, ids: Tensor) -> Tensor:
        return self.head(self.table(ids).mean(1))


@pytest.mark.gate
@FORMATS
def test_a_low_rank_vit(format, tmp_path) -> None:
    size = {"image_size": 16, "patch_size": 8, "dim": 24, "depth": 1, "heads": 3}
    dense = randomise(ms_eff.build_model("vit_tiny_patch16", num_classes=5, **size))
    network, plan, _ = ms_eff.apply_lowrank(dense, rank=4)
    assert len(plan.layers) >= 4
    done = export(network, tmp_path / f"vit.{format}", (2, 3, 16, 16), format)
    assert done.difference.within(EXPORT)


@pytest.mark.gate
@FORMATS
def test_a_low_rank_embedding(format, tmp_path) -> None:
    network, plan, _ = ms_eff.apply_lowrank(randomise(Words()), rank=6, layers=["embedding"])
    assert [entry.name for entry in plan.layers] == ["table"]
    ids = InputSpec((2, 7), dtype="int32", high=50)
    done = export(network, tmp_path / f"words.{format}", [ids], format)
    assert done.difference.within(EXPORT)
    assert np.isfinite(done.difference.max_abs)
