"""The numbers of a Llama."""

from __future__ import annotations

from typing import Any

import pytest

from ms_eff.errors import ConfigError
from ms_eff.models import build
from ms_eff.models.llama_shape import LlamaShape
from ms_eff.models.registry import FROM_FILES


def test_a_shape_goes_to_hugging_face_and_back() -> None:
    shape = LlamaShape(100, 24, 2, 6, 2, 40, head_dim=8, tied=True, context=64)
    assert LlamaShape.from_hf(shape.to_hf()) == shape


def test_mistral_is_as_long_as_its_window() -> None:
    config = LlamaShape(100, 24, 2, 6, 2, 40, context=64).to_hf()
    assert (
        LlamaShape.from_hf({**config, "model_type": "mistral", "sliding_window": 16}).context == 16
    )


def test_numbers_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ConfigError, match="heads = 6 is no multiple of kv_heads = 4"):
        LlamaShape(100, 24, 2, 6, 4, 40)
    with pytest.raises(ConfigError, match="dim = 25"):
        LlamaShape(100, 25, 2, 6, 2, 40)
    with pytest.raises(ConfigError, match="'hidden_size' is missing"):
        LlamaShape.from_hf({"model_type": "llama", "num_attention_heads": 2, "vocab_size": 3})
    with pytest.raises(ConfigError, match="llama: depth is missing"):
        build("llama", vocab_size=8, dim=4)


SHAPE = LlamaShape(100, 24, 2, 6, 2, 40, rope_base=5e5)


def test_the_rotary_base_is_read_where_transformers_5_keeps_it() -> None:
    config = SHAPE.to_hf() | {"rope_theta": None, "dtype": "float32"}
    newer = config | {"rope_parameters": {"rope_theta": 5e5, "rope_type": "default"}}
    assert LlamaShape.from_hf(newer) == SHAPE
    del newer["rope_theta"]
    assert LlamaShape.from_hf(newer) == SHAPE
    assert LlamaShape.from_hf(config).rope_base == 1e4  # the usual one
    older = SHAPE.to_hf() | {"rope_scaling": {"type": "default"}}
    assert LlamaShape.from_hf(older) == SHAPE


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("rope_parameters", {"rope_type": "llama3", "rope_theta": 5e5}, "rope_type = 'llama3'"),
        ("rope_parameters", {"partial_rotary_factor": 0.5}, "partial_rotary_factor = 0.5"),
        ("rope_parameters", {"full_attention": {"rope_theta": 1e6}}, "one kind of rotary"),
        ("rope_scaling", {"type": "linear", "factor": 2.0}, "rope_type = 'linear'"),
    ],
)
def test_scaled_rotary_positions_are_refused(key: str, value: object, message: str) -> None:
    with pytest.raises(ConfigError, match=rf"^a/config\.json: {key}.*{message}"):
        LlamaShape.from_hf(SHAPE.to_hf() | {key: value}, "a/config.json")


def test_a_shape_names_what_the_builder_takes() -> None:
    assert set(FROM_FILES["llama"][1]) == set(LlamaShape(8, 4, 1, 1, 1, 4).to_args())


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ([1], r"m/config\.json: holds a list; name a model's"),
        (SHAPE.to_hf() | {"max_position_embeddings": None}, "a number of the model is of another"),
        (SHAPE.to_hf() | {"hidden_size": "wide"}, "a number of the model is of another kind"),
        (SHAPE.to_hf() | {"num_attention_heads": 0, "head_dim": None}, "of another kind"),
    ],
)
def test_odd_values_are_one_line(config: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        LlamaShape.from_hf(config, "m/config.json")


def test_what_a_mistral_leaves_out_is_mistrals() -> None:
    config = LlamaShape(100, 32, 2, 16, 4, 40, context=64).to_hf() | {"model_type": "mistral"}
    for key in ("num_key_value_heads", "max_position_embeddings"):
        del config[key]
    assert LlamaShape.from_hf(config).kv_heads == 8
    assert LlamaShape.from_hf(config).context == 4096
    assert LlamaShape.from_hf(config | {"sliding_window": None}).context == 131_072
