"""MindFormers' own Llama from the same weights: for those who train with MindFormers.

Its forward, training and export run on a CPU; its KV cache needs rotary kernels for half precision,
and `generate` an argmax kernel, that only Ascend has (mindformers 1.9.0). Extra `llm`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import mindspore as ms
import numpy as np
from mindspore import nn

from ms_eff.errors import CheckpointError, SetupError
from ms_eff.models.llama_shape import LlamaShape

if TYPE_CHECKING:
    from ms_eff.methods.lowrank.plan import LowRankPlan

__all__ = ["load_mindformers", "mindformers_llama", "mindformers_name", "mindformers_plan"]

_PARTS = {
    "input_layernorm": "attention_norm",
    "self_attn.q_proj": "attention.wq",
    "self_attn.k_proj": "attention.wk",
    "self_attn.v_proj": "attention.wv",
    "self_attn.o_proj": "attention.wo",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "feed_forward.w1",
    "mlp.up_proj": "feed_forward.w3",
    "mlp.down_proj": "feed_forward.w2",
}
_OUTER = {
    "model.embed_tokens.weight": "model.tok_embeddings.embedding_weight",
    "model.norm.weight": "model.norm_out.weight",
}
_TYPES = (
    *("compute_dtype", "layernorm_compute_type", "softmax_compute_type", "rotary_dtype"),
    *("param_init_type", "embedding_init_type"),
)


def mindformers_name(name: str) -> str:
    """Return MindFormers' name of a parameter or layer that Hugging Face calls `name`.

    >>> mindformers_name("model.layers.3.self_attn.q_proj.first.weight")
    'model.layers.3.attention.wq.first.weight'
    >>> mindformers_name("model.norm.weight")
    'model.norm_out.weight'
    """
    if name in _OUTER:
        return _OUTER[name]
    for theirs, ours in _PARTS.items():
        inner = f".{theirs}"
        if f"{name}.".find(f"{inner}.") > 0:
            return f"{name}.".replace(f"{inner}.", f".{ours}.", 1)[:-1]
    return name


def mindformers_plan(plan: LowRankPlan) -> LowRankPlan:
    """Return a member's plan for MindFormers' model of the same shape."""
    layers = (replace(layer, name=mindformers_name(layer.name)) for layer in plan.layers)
    return replace(plan, layers=tuple(layers))


def mindformers_llama(shape: LlamaShape, length: int, **settings: Any) -> nn.Cell:
    """Return MindFormers' `LlamaForCausalLM` of a shape, with new weights.

    Args:
        shape: of the model.
        length: `seq_length`: it takes ids (batch_size, length) only.
        **settings: of its `LlamaConfig`, over float32 and what graph mode on a CPU needs
            (no fused kernels); on Ascend, `use_flash_attention=True` and half precision pay.

    Raises:
        SetupError: mindformers is not installed.
        CheckpointError: a shape that its model cannot have.
    """
    try:
        import mindformers
    except ImportError as error:
        raise SetupError("mindformers is not installed: pip install 'ms_eff[llm]'") from error
    if shape.head_size * shape.heads != shape.dim:
        raise CheckpointError(
            f"head_dim = {shape.head_size}: MindFormers' Llama has heads of dim / heads = "
            f"{shape.dim // shape.heads}; use the network of ms_eff.load_language_model"
        )
    given: dict[str, Any] = {
        "batch_size": 1,
        "use_flash_attention": False,
        "fused_rms_norm": False,
        "use_rope_slice": True,
        **dict.fromkeys(_TYPES, "float32"),
        **settings,
    }
    config = mindformers.LlamaConfig(
        vocab_size=shape.vocab_size,
        hidden_size=shape.dim,
        num_layers=shape.depth,
        num_heads=shape.heads,
        n_kv_heads=shape.kv_heads,
        intermediate_size=shape.hidden,
        seq_length=length,
        max_position_embedding=length,
        rms_norm_eps=shape.norm_eps,
        theta=shape.rope_base,
        tie_word_embeddings=shape.tied,
        qkv_has_bias=shape.attention_bias,
        attn_proj_has_bias=shape.attention_bias,
        **given,
    )
    return mindformers.LlamaForCausalLM(config)


def load_mindformers(network: nn.Cell, arrays: Mapping[str, np.ndarray]) -> nn.Cell:
    """Put arrays of Hugging Face's names into MindFormers' model, whole or in factors.

    Args:
        network: of `mindformers_llama`, rebuilt with `mindformers_plan` for a member.
        arrays: every parameter, as a parent or a member has them.

    Raises:
        CheckpointError: a parameter is missing or of another shape; nothing is loaded then.
    """
    given = {mindformers_name(name): array for name, array in arrays.items()}
    own = {parameter.name: parameter for parameter in network.get_parameters()}
    for name, parameter in own.items():
        if name not in given:
            raise CheckpointError(f"MindFormers' Llama: '{name}' is missing among the arrays")
        if tuple(given[name].shape) != tuple(parameter.shape):
            raise CheckpointError(
                f"MindFormers' Llama: '{name}' is {tuple(given[name].shape)}, its model has "
                f"{tuple(parameter.shape)}; build it of the same shape and plan"
            )
    for name, parameter in own.items():
        parameter.set_data(ms.Tensor(given[name], parameter.dtype))
    return network
