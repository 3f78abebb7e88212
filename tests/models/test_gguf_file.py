"""GGUF files, written by the `gguf` package from a model of `transformers`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mindspore import Tensor

from ms_eff.errors import CheckpointError, ConfigError
from ms_eff.models.gguf_file import GGUFModel
from ms_eff.models.parents import load_parent, load_tokenizer, open_parent
from tests.models.llamas import TINY, logits_of, save_hf, some_ids
from tests.tolerances import FP32

gguf = pytest.importorskip("gguf")

_NAMES = {
    "input_layernorm": "attn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}


def write_gguf(
    path: Path, model: Any, kind: str = "llama", splits: str = "smollm", more: Any = None
) -> None:
    """Write a model as llama.cpp's converter does: rows of q and k in interleaved pairs."""
    writer = gguf.GGUFWriter(path, kind)
    writer.add_block_count(TINY["num_hidden_layers"])
    writer.add_embedding_length(TINY["hidden_size"])
    writer.add_feed_forward_length(TINY["intermediate_size"])
    writer.add_head_count(TINY["num_attention_heads"])
    writer.add_head_count_kv(TINY["num_key_value_heads"])
    writer.add_key_length(TINY["head_dim"])
    writer.add_context_length(TINY["max_position_embeddings"])
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_rope_freq_base(TINY["rope_theta"])
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(splits)
    writer.add_token_list(["<|im_start|>", "a", "b", "Ġ", "ab", "Ġab", "1"])
    writer.add_token_types([3, 1, 1, 1, 1, 1, 1])
    writer.add_token_merges(["a b", "Ġ ab"])
    if more is not None:
        more(writer)
    for name, tensor in model.state_dict().items():
        if name != "lm_head.weight":
            writer.add_tensor(*_converted(name, tensor.numpy()))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _converted(name: str, array: np.ndarray) -> tuple[str, np.ndarray]:
    if name == "model.embed_tokens.weight":
        return "token_embd.weight", array
    if name == "model.norm.weight":
        return "output_norm.weight", array
    _, _, block, rest = name.split(".", 3)
    part = rest.removesuffix(".weight")
    if part in ("self_attn.q_proj", "self_attn.k_proj"):
        d = TINY["head_dim"]
        rows = np.arange(len(array))
        # row 2i + j of a head is its row j d/2 + i
        array = array[rows // d * d + rows % d % 2 * (d // 2) + rows % d // 2]
    return f"blk.{block}.{_NAMES[part]}.weight", array


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    folder = tmp_path_factory.mktemp("gguf")
    model = save_hf(folder)
    write_gguf(folder / "tiny.gguf", model)
    return folder / "tiny.gguf", model


@pytest.mark.gate
def test_logits_equal_those_of_transformers(written: tuple[Path, Any]) -> None:
    path, reference = written
    ids = some_ids()
    expected = logits_of(reference, ids)
    result = load_parent(path)(Tensor(ids)).asnumpy()
    np.testing.assert_allclose(result, expected, atol=FP32, rtol=FP32)


def test_it_says_where_texts_end(tmp_path: Path, written: tuple[Path, Any]) -> None:
    assert open_parent(written[0]).special_ids == {}
    path = tmp_path / "ended.gguf"
    write_gguf(path, written[1], more=lambda writer: writer.add_eos_token_id(6))
    assert open_parent(path).special_ids == {"eos_token_id": 6}


def test_its_tokenizer_splits_digits_and_control_tokens(written: tuple[Path, Any]) -> None:
    tokenizer = load_tokenizer(written[0])
    assert tokenizer.encode("ab ab<|im_start|>11").tokens == [
        *("ab", "Ġab", "<|im_start|>", "1", "1")
    ]
    assert tokenizer.decode([4, 5]) == "ab ab"


def test_what_cannot_be_read_is_refused(tmp_path: Path, written: tuple[Path, Any]) -> None:
    write_gguf(tmp_path / "other.gguf", written[1], "qwen2")
    with pytest.raises(CheckpointError, match="architecture 'qwen2'"):
        GGUFModel(tmp_path / "other.gguf")
    write_gguf(tmp_path / "splits.gguf", written[1], splits="llama-bpe")
    with pytest.raises(ConfigError, match="llama-bpe"):
        load_tokenizer(tmp_path / "splits.gguf")
    bias = np.zeros(8, np.float32)
    odd = {
        "rotary positions are scaled": lambda w: w.add_rope_scaling_type(gguf.RopeScalingType.YARN),
        "a part of each head": lambda w: w.add_rope_dimension_count(TINY["head_dim"] // 2),
        r"q_proj\.bias', which is no part": lambda w: w.add_tensor("blk.0.attn_q.bias", bias),
    }
    for said, more in odd.items():
        write_gguf(tmp_path / "odd.gguf", written[1], more=more)
        with pytest.raises(CheckpointError, match=said):
            GGUFModel(tmp_path / "odd.gguf")
    (tmp_path / "not.gguf").write_bytes(b"no" * 40)
    with pytest.raises(CheckpointError, match="no GGUF"):
        GGUFModel(tmp_path / "not.gguf")
    with pytest.raises(CheckpointError, match="cannot be read"):
        GGUFModel(tmp_path / "missing.gguf")
