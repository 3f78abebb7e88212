"""Models that other libraries saved, read here: logits as theirs."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from mindspore import Tensor

from ms_eff.errors import CheckpointError, ConfigError
from ms_eff.models.parents import load_parent, load_tokenizer, open_parent, save_tokenizer
from tests.models.gpt2s import save_hf_gpt2
from tests.models.llamas import logits_of, save_hf, some_ids
from tests.tolerances import FP32


@pytest.mark.gate
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"tie_word_embeddings": False, "attention_bias": True, "head_dim": 4, "rope_theta": 1e5},
    ],
    ids=["tied", "biased"],
)
def test_logits_equal_those_of_transformers(tmp_path: Path, changes: dict[str, object]) -> None:
    reference = save_hf(tmp_path, shards="8KB", **changes)
    assert len(list(tmp_path.glob("*.safetensors"))) > 2  # in shards
    network = load_parent(tmp_path)
    ids = some_ids()
    expected = logits_of(reference, ids)
    np.testing.assert_allclose(network(Tensor(ids)).asnumpy(), expected, atol=FP32, rtol=FP32)
    assert network.shape.params == sum(p.numel() for p in reference.parameters())


@pytest.mark.gate
def test_a_sharded_gpt2_is_read_by_the_same_reader(tmp_path: Path) -> None:
    reference = save_hf_gpt2(tmp_path, shards="8KB")
    assert len(list(tmp_path.glob("*.safetensors"))) > 2
    parent, ids = open_parent(tmp_path), some_ids()
    # transformers' Conv1D has (in, out)
    weight = reference.transformer.h[1].attn.c_attn.weight.detach().numpy()
    np.testing.assert_array_equal(parent.array("blocks.1.attn.qkv.weight"), weight.T)
    found = load_parent(parent)(Tensor(ids)).asnumpy()
    np.testing.assert_allclose(found, logits_of(reference, ids), atol=FP32, rtol=FP32)
    assert parent.shape.params == sum(p.numel() for p in reference.parameters())
    with pytest.raises(CheckpointError, match=r"holds no array 'blocks\.2\.fc1\.weight'"):
        parent.array("blocks.2.fc1.weight")


def test_half_precision_is_widened(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    reference = save_hf(tmp_path).to(torch.bfloat16)
    reference.save_pretrained(tmp_path)
    name = "model.layers.1.mlp.up_proj.weight"
    expected = reference.get_parameter(name).float().detach().numpy()
    np.testing.assert_array_equal(open_parent(tmp_path).array(name), expected)


def test_a_config_of_another_model_is_refused(tmp_path: Path) -> None:
    save_hf(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "intermediate_size": 48}))
    with pytest.raises(CheckpointError, match=r"gate_proj.*config and weights are of two models"):
        load_parent(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({**config, "model_type": "bert"}))
    with pytest.raises(ConfigError, match="'bert'; llama, mistral and gpt2 are known"):
        open_parent(tmp_path)
    scaled = {**config, "rope_scaling": {"rope_type": "llama3"}}
    (tmp_path / "config.json").write_text(json.dumps(scaled))
    with pytest.raises(ConfigError, match="rope_scaling"):
        open_parent(tmp_path)


def test_a_damaged_shard_is_refused_by_name(tmp_path: Path) -> None:
    save_hf(tmp_path)
    file = tmp_path / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(CheckpointError, match=r"model\.safetensors: the file is damaged"):
        open_parent(tmp_path)
    file.unlink()
    with pytest.raises(CheckpointError, match="no weights here"):
        open_parent(tmp_path)


def test_what_is_no_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no model here"):
        open_parent(tmp_path / "none")
    with pytest.raises(CheckpointError, match=r"config\.json: cannot be read"):
        open_parent(tmp_path)


def test_a_tokenizer_goes_to_and_fro(tmp_path: Path) -> None:
    tokenizers = pytest.importorskip("tokenizers")
    words = {"[UNK]": 0, "a": 1, "whale": 2}
    tokenizer = tokenizers.Tokenizer(tokenizers.models.WordLevel(words, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    save_tokenizer(tokenizer, tmp_path)
    assert load_tokenizer(tmp_path).encode("a whale sang").ids == [1, 2, 0]
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(ConfigError, match="not a tokenizer"):
        load_tokenizer(tmp_path)
    with pytest.raises(ConfigError, match="no tokenizer here"):
        load_tokenizer(tmp_path / "other")


def test_a_tokenizers_own_limits_do_not_cut_texts(tmp_path: Path) -> None:
    tokenizers = pytest.importorskip("tokenizers")
    words = tokenizers.Tokenizer(tokenizers.models.WordLevel({"a": 0, "b": 1}, unk_token="a"))
    words.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    words.enable_truncation(3)
    words.enable_padding(length=64)
    words.save(str(tmp_path / "tokenizer.json"))
    assert load_tokenizer(tmp_path).encode("a b a b a").ids == [0, 1, 0, 1, 0]


def test_a_member_ends_where_its_parent_does(tmp_path: Path) -> None:
    config = save_hf(tmp_path, eos_token_id=7, pad_token_id=5).config
    assert open_parent(tmp_path).special_ids == {
        "bos_token_id": config.bos_token_id,
        "eos_token_id": 7,
        "pad_token_id": 5,
    }
