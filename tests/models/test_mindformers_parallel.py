"""A member on a mesh: what can be checked without Ascend is how each layer is laid out."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from mindspore import Tensor

from ms_eff.errors import ConfigError
from ms_eff.methods.lowrank import apply_lowrank
from ms_eff.methods.progressive.members import description
from ms_eff.models.llama import llama
from ms_eff.models.mindformers_parallel import enter_mesh, parallel_member
from ms_eff.parallel import ParallelSettings
from ms_eff.train import checkpoint
from tests.tolerances import FP32

SIZES = {"vocab_size": 40, "dim": 24, "depth": 1, "heads": 6, "kv_heads": 2, "hidden": 32}


@pytest.fixture(autouse=True)
def _logs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCAL_DEFAULT_PATH", str(tmp_path))
    monkeypatch.setenv("LOG_MF_PATH", str(tmp_path))
    pytest.importorskip("mindformers")


@pytest.fixture
def saved(tmp_path: Path):
    """A member on disk, and the network that it is."""
    network = llama(seed=2, **SIZES, context=8, tied=True)
    for parameter in network.get_parameters():
        if len(parameter.shape) > 1:
            parameter.set_data(parameter * 10)
    member, plan, _ = apply_lowrank(network, ratio=1.5)
    weights = {p.name: p.asnumpy() for p in member.get_parameters()}
    state = json.loads(json.dumps(description(network.shape, plan)))
    return checkpoint.save(tmp_path / "member", weights, state), member


def test_factors_are_shared_as_their_layer_would_be(saved) -> None:
    path, _ = saved
    network = parallel_member(path, 8, ParallelSettings(data=2, model=2, optimizer=True))
    attention = network.model.layers[0].attention
    rows, columns = attention.wq, attention.wo
    assert rows.last.matmul.in_strategy == ((2, 1), (2, 1))
    assert rows.first.matmul.in_strategy == ((2, 1), (1, 1))
    assert columns.first.matmul.in_strategy == ((2, 2), (1, 2))
    assert columns.last.matmul.in_strategy == ((2, 1), (1, 1))


@pytest.mark.slow
def test_on_one_device_it_gives_the_members_logits(saved) -> None:
    path, member = saved
    theirs = parallel_member(path, 8, ParallelSettings()).set_train(False)
    ids = Tensor(np.random.default_rng(0).integers(1, 40, (1, 8)).astype(np.int32))
    expected = member.set_train(False)(ids).asnumpy()
    np.testing.assert_allclose(theirs(ids)[0].asnumpy(), expected, atol=FP32, rtol=FP32)


def test_what_cannot_be_is_refused(saved) -> None:
    with pytest.raises(ConfigError, match="kv_heads = 2 does not divide"):
        parallel_member(saved[0], 8, ParallelSettings(model=3))
    with pytest.raises(ConfigError, match="on Ascend only, here is CPU"):
        enter_mesh(ParallelSettings(data=2))
