"""Networks for text."""

from __future__ import annotations

from cross_check.case import Case, Inputs, Twin

__all__ = ["LANGUAGE"]

_BERT = {"vocab": 2, "positions": 9, "dim": 24, "heads": 3, "hidden": 40, "num_classes": 4}
_GPT2 = {"vocab": 30, "positions": 12, "dim": 24, "depth": 2, "heads": 3}

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
)
