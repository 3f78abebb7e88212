"""Steps of a family of language models, trained in between (arXiv:2406.19995, ENLSP 2021)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional
from transformers import LlamaConfig, LlamaForCausalLM

from cross_check.twins.recipes import loop
from cross_check.twins.recipes.given import Arrays, Batch, Given, Trained

__all__ = ["llama", "train"]


def llama(ranks: Mapping[str, int], **config: Any) -> nn.Module:
    """Return transformers' Llama with the linears that `ranks` names in two factors."""
    network = LlamaForCausalLM(LlamaConfig(**config, use_cache=False))
    for name, rank in ranks.items():
        parent, _, child = name.rpartition(".")
        owner = network.get_submodule(parent)
        whole = getattr(owner, child)
        pair = nn.Sequential()
        pair.add_module("first", nn.Linear(whole.in_features, rank, bias=False))
        pair.add_module("last", nn.Linear(rank, whole.out_features, bias=False))
        setattr(owner, child, pair)
    return network


def train(given: Given) -> Trained:
    """Check each step's factors against torch's own decomposition, then train as it was trained.

    The first step truncates the parent. A later one truncates either the second factor alone
    (`w1_only`) or the product of both (`joint`).
    """
    wishes = given.methods["progressive"]
    whole: Trained = {}
    before = {name: given.tensor(a) for name, a in given.group("parent").items()}
    pairs: dict[str, tuple[torch.Tensor, torch.Tensor]] = {}
    parts: list[Trained] = []
    for step in range(len(wishes["ratios"])):
        start = given.group(f"start {step}")
        ranks = {k.removesuffix(_FIRST): len(a) for k, a in start.items() if k.endswith(_FIRST)}
        products: Arrays = {}
        for name, rank in ranks.items():
            if step == 0:
                product = _truncated(before[f"{name}.weight"], rank)
            elif wishes["step"] == "w1_only":
                product = _truncated(pairs[name][1], rank) @ pairs[name][0]
            else:
                product = _truncated(pairs[name][1] @ pairs[name][0], rank)
            products[name] = product.cpu().numpy()
        whole[f"products of step {step}"] = products
        network = given.build(start, ranks=ranks)
        own = [replace(batch, epoch=0) for batch in given.batches if batch.epoch == step]
        part = replace(given, batches=own)
        parts.append(loop.train(part, network, _loss))
        end = {name: given.tensor(a) for name, a in given.group(f"end {step}").items()}
        pairs = {n: (end[n + _FIRST], end[f"{n}.last.weight"]) for n in ranks}
    for quantity in ("learning rates", "loss curve"):
        whole[quantity] = {"": np.concatenate([part[quantity][""] for part in parts])}
    for quantity in ("first update of weights", "movement of weights"):
        whole[quantity] = {
            f"{step}/{name}": array
            for step, part in enumerate(parts)
            for name, array in part[quantity].items()
        }
    return whole


_FIRST = ".first.weight"


def _loss(network: nn.Module, batch: Batch) -> torch.Tensor:
    outputs = loop.logits(network(input_ids=batch.inputs))
    return functional.cross_entropy(outputs.flatten(0, 1), batch.labels.flatten())


def _truncated(matrix: torch.Tensor, rank: int) -> torch.Tensor:
    U, S, V = torch.linalg.svd(matrix, full_matrices=False)
    return (U[:, :rank] * S[:rank]) @ V[:rank]
