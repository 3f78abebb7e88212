"""MindFormers' Llama from our weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from mindspore import Tensor

from ms_eff.errors import CheckpointError
from ms_eff.methods.lowrank import apply_lowrank, rebuild
from ms_eff.models.llama import llama
from ms_eff.models.llama_shape import LlamaShape
from ms_eff.models.mindformers_llama import (
    load_mindformers,
    mindformers_llama,
    mindformers_plan,
)
from tests.tolerances import FP32

SIZES = {"vocab_size": 40, "dim": 24, "depth": 1, "heads": 6, "kv_heads": 2, "hidden": 32}


@pytest.fixture(autouse=True)
def _logs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCAL_DEFAULT_PATH", str(tmp_path))
    monkeypatch.setenv("LOG_MF_PATH", str(tmp_path))
    pytest.importorskip("mindformers")


@pytest.mark.gate
def test_a_member_gives_the_same_logits_there() -> None:
    network = llama(seed=2, **SIZES, context=8, tied=True)
    for parameter in network.get_parameters():
        if len(parameter.shape) > 1:
            parameter.set_data(parameter * 10)
    member, plan, _ = apply_lowrank(network, ratio=1.5)
    theirs = rebuild(mindformers_llama(network.shape, 8), mindformers_plan(plan))
    arrays = {p.name: p.asnumpy() for p in member.get_parameters()}
    load_mindformers(theirs, arrays).set_train(False)
    ids = Tensor(np.random.default_rng(0).integers(1, 40, (1, 8)).astype(np.int32))
    expected = member.set_train(False)(ids).asnumpy()
    np.testing.assert_allclose(theirs(ids)[0].asnumpy(), expected, atol=FP32, rtol=FP32)
    del arrays["model.norm.weight"]
    with pytest.raises(CheckpointError, match=r"'model\.norm_out\.weight' is missing"):
        load_mindformers(theirs, arrays)


def test_a_shape_it_cannot_have_is_refused() -> None:
    with pytest.raises(CheckpointError, match="head_dim = 8"):
        mindformers_llama(LlamaShape(**SIZES, head_dim=8), 8)
