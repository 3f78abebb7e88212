"""The shape of a Llama-like model, as Hugging Face's config.json and GGUF's metadata state it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

from ms_eff.errors import ConfigError
from ms_eff.models.hf_config import readable, require_mapping

__all__ = ["LlamaShape"]

# what Mistral's configs mean where they say nothing, and Llama's mean otherwise
_MISTRAL = {"num_key_value_heads": 8, "sliding_window": 4096, "max_position_embeddings": 131_072}


@dataclass(frozen=True)
class LlamaShape:
    """All numbers that a Llama, Mistral or SmolLM2 is built from.

    Attributes:
        vocab_size: rows of the embedding.
        dim: width of the residual stream.
        depth: blocks.
        heads: query heads; `dim` is not always `heads * head_dim`.
        kv_heads: key and value heads; each serves `heads / kv_heads` query heads (2305.13245).
        hidden: width of the SwiGLU feed-forward (2002.05202).
        head_dim: of each head; None is `dim / heads`.
        norm_eps: of RMSNorm.
        rope_base: of the rotary positions (2104.09864).
        context: the longest sequence.
        tied: whether the output layer is the embedding.
        attention_bias: whether q, k, v and o have biases.

    Raises:
        ConfigError: the numbers do not fit together.

    >>> LlamaShape(49152, 576, 30, 9, 3, 1536, tied=True).params
    134515008
    """

    # what `ms_eff.models.build` calls it, and where its blocks are
    model: ClassVar[str] = "llama"
    blocks: ClassVar[str] = "model.layers"

    vocab_size: int
    dim: int
    depth: int
    heads: int
    kv_heads: int
    hidden: int
    head_dim: int | None = None
    norm_eps: float = 1e-5
    rope_base: float = 10_000.0
    context: int = 2048
    tied: bool = False
    attention_bias: bool = False

    def __post_init__(self) -> None:
        if self.head_dim is None:
            if self.dim % self.heads:
                raise ConfigError(
                    f"llama: dim = {self.dim} is no multiple of heads = {self.heads}; give head_dim"
                )
            object.__setattr__(self, "head_dim", self.dim // self.heads)
        if self.heads % self.kv_heads:
            raise ConfigError(
                f"llama: heads = {self.heads} is no multiple of kv_heads = {self.kv_heads}"
            )
        if self.head_size % 2:
            raise ConfigError(f"llama: head_dim = {self.head_dim}: rotary positions need pairs")

    @property
    def head_size(self) -> int:
        """Channels of a head."""
        return self.head_dim or self.dim // self.heads

    @property
    def linears(self) -> dict[str, tuple[int, int]]:
        """The matrices of one block by name, (outputs, inputs), in the order of the data."""
        q, kv = self.heads * self.head_size, self.kv_heads * self.head_size
        return {
            "self_attn.q_proj": (q, self.dim),
            "self_attn.k_proj": (kv, self.dim),
            "self_attn.v_proj": (kv, self.dim),
            "self_attn.o_proj": (self.dim, q),
            "mlp.gate_proj": (self.hidden, self.dim),
            "mlp.up_proj": (self.hidden, self.dim),
            "mlp.down_proj": (self.dim, self.hidden),
        }

    @property
    def params(self) -> int:
        """Number of parameters, a tied output counted once."""
        matrices = sum(s * c for s, c in self.linears.values())
        biases = sum(self.linears[f"self_attn.{n}_proj"][0] for n in "qkvo")
        block = matrices + 2 * self.dim + (biases if self.attention_bias else 0)
        tables = (1 if self.tied else 2) * self.vocab_size * self.dim
        return tables + self.depth * block + self.dim

    def to_args(self) -> dict[str, Any]:
        """Return the arguments of `ms_eff.build_model("llama", ...)`."""
        return asdict(self)

    def to_hf(self) -> dict[str, Any]:
        """Return the content of a Hugging Face config.json."""
        return {
            "architectures": ["LlamaForCausalLM"],
            "model_type": "llama",
            "vocab_size": self.vocab_size,
            "hidden_size": self.dim,
            "num_hidden_layers": self.depth,
            "num_attention_heads": self.heads,
            "num_key_value_heads": self.kv_heads,
            "intermediate_size": self.hidden,
            "head_dim": self.head_size,
            "rms_norm_eps": self.norm_eps,
            "rope_theta": self.rope_base,
            "max_position_embeddings": self.context,
            "tie_word_embeddings": self.tied,
            "attention_bias": self.attention_bias,
            "hidden_act": "silu",
            "torch_dtype": "float32",
        }

    @classmethod
    def from_hf(cls, config: Mapping[str, Any], where: object = "config.json") -> LlamaShape:
        """Read a Hugging Face config.json of type `llama` or `mistral`.

        Raises:
            ConfigError: another kind of model, or one with parts that are not built here.
        """
        kind = require_mapping(config, where).get("model_type")
        if kind not in ("llama", "mistral"):
            raise ConfigError(f"{where}: model_type = {kind!r}; llama, mistral and gpt2 are known")
        config = {**(_MISTRAL if kind == "mistral" else {}), **config}
        for key, plain in (("hidden_act", "silu"), ("mlp_bias", False)):
            if config.get(key, plain) != plain:
                raise ConfigError(f"{where}: {key} = {config[key]!r} is not built; only {plain!r}")
        with readable(where):
            context = int(config.get("max_position_embeddings", 2048))
            heads = int(config["num_attention_heads"])
            return cls(
                vocab_size=int(config["vocab_size"]),
                dim=int(config["hidden_size"]),
                depth=int(config["num_hidden_layers"]),
                heads=heads,
                kv_heads=int(config.get("num_key_value_heads") or heads),
                hidden=int(config["intermediate_size"]),
                head_dim=config.get("head_dim"),
                norm_eps=float(config.get("rms_norm_eps", 1e-6)),
                rope_base=_rope_base(config, where),
                # within the window of Mistral's sliding attention, it is full attention
                context=min(context, config.get("sliding_window") or context),
                tied=bool(config.get("tie_word_embeddings", False)),
                attention_bias=bool(config.get("attention_bias", False)),
            )


def _rope_base(config: Mapping[str, Any], where: object) -> float:
    """Return the base of plain rotary positions, and refuse all others.

    Since version 5 transformers keeps it in `rope_parameters`; before, it was in `rope_theta`, and
    scaling in `rope_scaling`.
    """
    base = config.get("rope_theta")
    for key in ("rope_scaling", "rope_parameters"):
        found = config.get(key)
        if found is None:
            continue
        if not isinstance(found, Mapping) or any(isinstance(v, Mapping) for v in found.values()):
            raise ConfigError(
                f"{where}: {key} = {found!r} is not built; only one kind of rotary positions for "
                "all layers is"
            )
        kind = found.get("rope_type", found.get("type", "default"))
        share = found.get("partial_rotary_factor", 1.0)
        for name, value, plain in (
            ("rope_type", kind, "default"),
            ("partial_rotary_factor", share, 1.0),
        ):
            if value != plain:
                raise ConfigError(
                    f"{where}: {key}.{name} = {value!r} is not built, only {plain!r}; take a model "
                    "whose rotary positions are not scaled"
                )
        base = found.get("rope_theta", base)
    return 10_000.0 if base is None else float(base)
