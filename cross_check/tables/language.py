"""Networks for text."""

from __future__ import annotations

from cross_check.case import Case, Inputs, Twin

__all__ = ["LANGUAGE"]

_BERT = {"vocab": 2, "positions": 9, "dim": 24, "heads": 3, "hidden": 40, "num_classes": 4}
_GPT2 = {"vocab": 30, "positions": 12, "dim": 24, "depth": 2, "heads": 3}
# grouped KV heads
_LLAMA = {
    "vocab_size": 30,
    "dim": 24,
    "depth": 2,
    "heads": 4,
    "kv_heads": 2,
    "hidden": 40,
    "context": 12,
}
# heads that are wider together than the residual stream, and biases
_WIDE_HEADS = {**_LLAMA, "head_dim": 8, "attention_bias": True}
_DROPOUT = {"inputs": 8, "dim": 10, "rate": 0.3, "seed": 2}
_LOSSES = {"vocab": 12, "dim": 8, "smoothing": 0.1}

LANGUAGE: tuple[Case, ...] = (
    *(
        Case(
            f"BERT, {name}",
            "language:bert",
            # ids, mask with holes, and types
            Inputs((4, 3, 9), high=2),
            (Twin("bert:hf_bert", "hf", {**_BERT, "pool": pool, "depth": depth}),),
            {**_BERT, "pool": pool, "depth": depth},
            smooth=True,
            zero=("*.self.key.bias",),
        )
        for name, pool, depth in (("pooler", "token", 2), ("mean pooling", "mean", 1))
    ),
    Case(
        "GPT-2",
        "language:gpt2",
        Inputs((3, 11), high=30),
        (Twin("gpt2:hf_gpt2", "hf", _GPT2),),
        _GPT2,
        smooth=True,
        quick=("graph",),
    ),
    Case(
        "GPT-2, truncated",
        "language:truncated_gpt2",
        Inputs((3, 11), high=30),
        (Twin("gpt2:truncated_hf_gpt2", "hf", {**_GPT2, "depth": 4}),),
        {**_GPT2, "depth": 4, "keep": 2},
        smooth=True,
        quick=("pynative",),
    ),
    Case(
        "GPT-2, classifier",
        "language:gpt2_classifier",
        # ids, mask with holes, and types
        Inputs((4, 3, 9), high=2),
        (Twin("gpt2:hf_gpt2_classifier", "hf", {**_GPT2, "num_classes": 4}),),
        {**_GPT2, "num_classes": 4},
        smooth=True,
        quick=("pynative",),
    ),
    Case(
        "GPT-2, with its cache",
        "language:decoding_gpt2",
        Inputs((3, 8), high=30),
        (Twin("gpt2:hf_gpt2", "hf", {**_GPT2, "depth": 1}),),
        {**_GPT2, "depth": 1, "prompt": 6},
        smooth=True,
        quick=("graph",),
        rate=0.001,
    ),
    Case(
        "Llama",
        "language:llama",
        Inputs((3, 9), high=30),
        (Twin("llama:hf_llama", "torch", _WIDE_HEADS),),
        _WIDE_HEADS,
        smooth=True,
        quick=("graph",),
    ),
    Case(
        "Llama, with its cache",
        "language:decoding_llama",
        Inputs((3, 8), high=30),
        (Twin("llama:hf_llama", "torch", {**_LLAMA, "depth": 1}),),
        {**_LLAMA, "depth": 1, "prompt": 6},
        smooth=True,
        quick=("graph",),
    ),
    Case(
        "dropout",
        "language:dropout",
        Inputs((7, 8)),
        (Twin("tokens:dropout", "torch", _DROPOUT),),
        _DROPOUT,
        smooth=True,
        quick=("graph",),
    ),
    Case(
        "losses of the next token",
        "language:token_losses",
        Inputs((3, 6), high=12),
        (Twin("tokens:token_losses", "torch", _LOSSES),),
        _LOSSES,
        smooth=True,
        quick=("graph",),
    ),
)
