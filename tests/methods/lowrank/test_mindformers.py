"""MindFormers' own `Linear`, and a Llama made of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mindspore as ms
import numpy as np
import pytest
from mindspore import Tensor

from ms_eff.methods.lowrank import apply_lowrank, rebuild
from ms_eff.methods.lowrank.layers import find_layers
from tests.methods.lowrank.networks import images, randomise, run
from tests.methods.lowrank.test_surgery import full_rank_plan
from tests.tolerances import LAYER


@pytest.fixture(scope="module")
def linear(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with pytest.MonkeyPatch.context() as patch:  # it writes a log folder where it is imported
        folder: Path = tmp_path_factory.mktemp("mindformers")
        patch.setenv("LOCAL_DEFAULT_PATH", str(folder))
        patch.setenv("LOG_MF_PATH", str(folder))
        return pytest.importorskip("mindformers.modules.layers").Linear


@pytest.mark.parametrize("transpose_b", [True, False])
@pytest.mark.parametrize("activation", [None, "gelu"])
def test_full_rank_is_exact(linear: Any, transpose_b: bool, activation: str | None) -> None:
    layer = linear(12, 20, transpose_b=transpose_b, activation=activation, compute_dtype=ms.float32)
    randomise(layer)
    compressed, _, (row,) = apply_lowrank(layer, full_rank_plan(layer))
    x = images(2, 3, 12)
    np.testing.assert_allclose(run(compressed, x), run(layer, x), atol=LAYER, rtol=LAYER)
    assert row.shape == (20, 12)
    assert type(compressed.first) is linear


def test_types_and_orientation_are_kept(linear: Any) -> None:
    layer = linear(16, 24, transpose_b=False, has_bias=False, param_init_type=ms.float16)
    compressed, _, _ = apply_lowrank(layer, ratio=2.0)
    assert {p.name: (p.shape, p.dtype) for p in compressed.get_parameters()} == {
        "first.weight": ((16, 4), ms.float16),
        "last.weight": ((4, 24), ms.float16),
    }
    assert compressed.first.dtype == compressed.last.dtype == ms.float16


@pytest.mark.parametrize("transpose_b", [True, False])
def test_its_outputs_are_kept_by_real_inputs(linear: Any, transpose_b: bool) -> None:
    layer = linear(12, 20, transpose_b=transpose_b, activation="gelu", compute_dtype=ms.float32)
    randomise(layer)
    x = np.array(images(8, 5, 12).asnumpy())
    x[..., 4:] *= 1e-3  # four directions say it all: rank 4 is enough
    compressed, _, (row,) = apply_lowrank(
        layer, rank=4, criterion="two_sided", calibration=[(x, np.arange(40).reshape(8, 5) % 20)]
    )
    expected = run(layer, Tensor(x))
    np.testing.assert_allclose(run(compressed, Tensor(x)), expected, atol=0.02)
    assert row.criterion_error < 0.01 < 0.1 < row.error
    assert layer.activation_flag


def test_experts_are_left_alone(linear: Any) -> None:
    (layer,) = find_layers(linear(8, 8, expert_num=2))
    assert layer.reason == "it holds 2 experts; only plain layers are decomposed"


@pytest.mark.gate
def test_a_llama_keeps_its_logits_at_full_rank(linear: Any) -> None:
    mindformers = pytest.importorskip("mindformers")
    types = ("compute_dtype", "layernorm_compute_type", "softmax_compute_type", "rotary_dtype")
    config = mindformers.LlamaConfig(
        vocab_size=32,
        hidden_size=16,
        num_layers=1,
        num_heads=4,
        n_kv_heads=2,
        seq_length=8,
        intermediate_size=24,
        batch_size=1,
        use_flash_attention=False,
        fused_rms_norm=False,
        use_rope_slice=True,
        **dict.fromkeys((*types, "param_init_type", "embedding_init_type"), "float32"),
    )
    llama = mindformers.LlamaForCausalLM(config).set_train(False)
    ids = Tensor(np.arange(8, dtype=np.int32)[None])
    plan = full_rank_plan(llama)
    assert {e.name for e in plan.layers} >= {
        "model.layers.0.attention.wk",
        "model.layers.0.feed_forward.w2",
        "lm_head",
    }
    compressed, _, _ = apply_lowrank(llama, plan)
    expected = llama(ids)[0].asnumpy()
    np.testing.assert_allclose(compressed(ids)[0].asnumpy(), expected, atol=LAYER, rtol=LAYER)
    again = rebuild(llama, plan)
    assert [p.name for p in again.get_parameters()] == [p.name for p in compressed.get_parameters()]
