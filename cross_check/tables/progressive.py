"""Families of a language model, and what a parent is measured by."""

from __future__ import annotations

from cross_check.case import Case, Inputs, Twin

__all__ = ["PROGRESSIVE"]

_LLAMA = {
    "vocab_size": 30,
    "dim": 24,
    "depth": 1,
    "heads": 4,
    "kv_heads": 2,
    "hidden": 40,
    "context": 12,
    "tied": True,
}
_GPT2 = {"vocab": 30, "positions": 12, "dim": 24, "depth": 1, "heads": 3}
_LABELS = [[3, 1, 4, 1, 5], [9, 2, 6, 5, 3], [5, 8, 9, 7, 9]]

PROGRESSIVE: tuple[Case, ...] = (
    Case(
        "low-rank Llama of a family",
        "progressive:member",
        Inputs((3, 9), high=30),
        (Twin("llama:lowrank_hf_llama", "torch", _LLAMA),),
        {**_LLAMA, "ranks": [10, 6]},
        smooth=True,
        reference="lowrank:factors",
        quick=("graph",),
        rate=0.003,
    ),
    Case(
        "Llama's block",
        "progressive:llama_block",
        Inputs((3, 7, 24)),
        (Twin("llama:hf_llama_block", "torch", {**_LLAMA, "length": 7}),),
        {**_LLAMA, "length": 7},
        smooth=True,
        quick=("graph",),
    ),
    Case(
        "Llama's head",
        "progressive:head",
        Inputs((3, 5, 24)),
        (Twin("llama:hf_llama_head", "torch", {**_LLAMA, "labels": _LABELS}),),
        {**_LLAMA, "labels": _LABELS},
        smooth=True,
        quick=("graph",),
        # the loss is a sum, whose square is what goes down here
        rate=1e-4,
    ),
    Case(
        "GPT-2's block",
        "progressive:gpt2_block",
        Inputs((3, 7, 24)),
        (Twin("tokens:gpt2_block", "torch", {**_GPT2, "length": 7}),),
        {**_GPT2, "length": 7},
        smooth=True,
        quick=("graph",),
    ),
)
