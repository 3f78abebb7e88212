"""The numbers that a GPT-2 is built from, as Hugging Face's config.json states them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

from ms_eff.errors import ConfigError
from ms_eff.models.hf_config import readable, require_mapping

__all__ = ["GPT2Shape"]

# of the published vocabulary, whose last token is the end of a text
_VOCAB = 50257
_EPSILON = 1e-5
# what a config.json may say besides, and all that is built here
_BUILT: dict[str, tuple[Any, ...]] = {
    "activation_function": ("gelu_new", "gelu_pytorch_tanh"),  # two names of one formula
    "layer_norm_epsilon": (_EPSILON,),
    "scale_attn_weights": (True,),
    "scale_attn_by_inverse_layer_idx": (False,),
    "add_cross_attention": (False,),
    "tie_word_embeddings": (True,),
}


@dataclass(frozen=True)
class GPT2Shape:
    """All numbers of a GPT-2 (Radford et al. 2019).

    Attributes:
        vocab: number of tokens, V.
        positions: the longest sequence.
        dim: channels of a token, d.
        depth: number of blocks, l.
        heads: attention heads; divide `dim`.
        hidden: channels inside the MLPs; None is 4 `dim`.

    Raises:
        ConfigError: a number below 1, or heads that do not divide `dim`.

    >>> GPT2Shape(depth=6).params, GPT2Shape().params
    (81912576, 124439808)
    """

    # what `ms_eff.models.build` calls it, and where its blocks are
    model: ClassVar[str] = "gpt2"
    blocks: ClassVar[str] = "blocks"

    vocab: int = _VOCAB
    positions: int = 1024
    dim: int = 768
    depth: int = 12
    heads: int = 12
    hidden: int | None = None

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if value is not None and value < 1:
                raise ConfigError(f"{name}: expected at least 1, got {value}")
        if self.dim % self.heads:
            raise ConfigError(
                f"heads: {self.heads} does not divide dim = {self.dim}; choose a divisor"
            )

    @property
    def inner(self) -> int:
        """Channels inside the MLPs."""
        return 4 * self.dim if self.hidden is None else self.hidden

    @property
    def vocab_size(self) -> int:
        """Number of tokens, under the name that a Llama's shape has for it."""
        return self.vocab

    @property
    def context(self) -> int:
        """The longest sequence, under the name that a Llama's shape has for it."""
        return self.positions

    @property
    def linears(self) -> dict[str, tuple[int, int]]:
        """The matrices of one block by name, (outputs, inputs), in the order of the data."""
        return {
            "attn.qkv": (3 * self.dim, self.dim),
            "attn.proj": (self.dim, self.dim),
            "fc1": (self.inner, self.dim),
            "fc2": (self.dim, self.inner),
        }

    @property
    def params(self) -> int:
        """Number of parameters, the tied head counted once.

        V d + positions d + l (12 d^2 + 13 d) + 2 d where the MLPs have 4 d channels.
        """
        block = 4 * self.dim**2 + 9 * self.dim + 2 * self.dim * self.inner + self.inner
        return (self.vocab + self.positions + 2) * self.dim + self.depth * block

    def to_args(self) -> dict[str, Any]:
        """Return the arguments of `ms_eff.build_model("gpt2", ...)`."""
        return asdict(self)

    def to_hf(self) -> dict[str, Any]:
        """Return the content of a Hugging Face config.json."""
        end = self.vocab - 1 if self.vocab == _VOCAB else None
        return {
            "architectures": ["GPT2LMHeadModel"],
            "model_type": "gpt2",
            "vocab_size": self.vocab,
            "n_positions": self.positions,
            "n_embd": self.dim,
            "n_layer": self.depth,
            "n_head": self.heads,
            "n_inner": self.hidden,
            "activation_function": "gelu_new",
            "layer_norm_epsilon": _EPSILON,
            "tie_word_embeddings": True,
            "bos_token_id": end,
            "eos_token_id": end,
            "torch_dtype": "float32",
        }

    @classmethod
    def from_hf(cls, config: Mapping[str, Any], where: object = "config.json") -> GPT2Shape:
        """Read a Hugging Face config.json of type `gpt2`.

        Raises:
            ConfigError: another kind of model, or one with parts that are not built here.
        """
        if require_mapping(config, where).get("model_type") != "gpt2":
            raise ConfigError(
                f"{where}: model_type = {config.get('model_type')!r}; 'gpt2' is expected"
            )
        for key, built in _BUILT.items():
            if config.get(key, built[0]) not in built:
                raise ConfigError(
                    f"{where}: {key} = {config[key]!r} is not built; only {built[0]!r}"
                )
        with readable(where):
            return cls(
                vocab=int(config["vocab_size"]),
                positions=int(config["n_positions"]),
                dim=int(config["n_embd"]),
                depth=int(config["n_layer"]),
                heads=int(config["n_head"]),
                hidden=config.get("n_inner"),
            )
