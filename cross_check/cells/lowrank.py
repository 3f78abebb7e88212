"""Layers in factors, whole networks of them, and merged blocks."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from mindspore import nn

from cross_check.cells import vision
from cross_check.cells.subject import Subject, draw, move_norms
from ms_eff.methods.lowrank.merging import merge_bottlenecks
from ms_eff.methods.lowrank.surgery import apply_lowrank

__all__ = [
    "conv",
    "decomposed",
    "dense",
    "embedding",
    "frozen_conv",
    "merged_resnet",
    "resnet",
    "vit",
    "weighted_dense",
]


def dense(C: int, S: int, rank: int) -> Subject:
    """Return a dense layer in two factors."""
    return decomposed(nn.Dense(C, S), rank=rank)


def conv(
    C: int, S: int, rank: int | list[int], kernel: int, branches: int = 1, **geometry: int
) -> Subject:
    """Return a convolution with bias in two (1x1) or three factors, the core in branches."""
    layer = nn.Conv2d(C, S, kernel, pad_mode="pad", has_bias=True, **geometry)
    return decomposed(layer, ranks={"": rank}, branches=branches)


def frozen_conv(frozen: list[str], **args: Any) -> Subject:
    """Return a convolution in factors of which some rest."""
    subject = conv(**args)
    for name, factor in subject.cell.factors().items():
        factor.requires_grad = name not in frozen
    return subject


def weighted_dense(C: int, S: int, rank: int, samples: int) -> Subject:
    """Return a dense layer in factors that keep its outputs on some inputs; these come along."""
    inputs = np.random.default_rng(5).standard_normal((samples, C)) * np.linspace(0.1, 3.0, C)
    inputs = inputs.astype(np.float32)
    subject = decomposed(
        nn.Dense(C, S), rank=rank, criterion="activation", calibration=[inputs],
        calibration_samples=samples,
    )  # fmt: skip
    return replace(subject, dense={**subject.dense, "inputs": inputs})


def vit(ratio: float, **args: Any) -> Subject:
    """Return a vision transformer with its layers `ratio` times smaller."""
    return decomposed(vision.vit(**args).cell, ratio=ratio)


def embedding(V: int, d: int, rank: int) -> Subject:
    """Return an embedding in two factors."""
    return decomposed(nn.Embedding(V, d), rank=rank, layers=("embedding",))


def resnet(ratio: float, **args: Any) -> Subject:
    """Return a ResNet with its layers `ratio` times smaller."""
    return decomposed(vision.resnet(**args).cell, ratio=ratio)


def merged_resnet(share: float, branches: int = 1, bias: bool = True, **args: Any) -> Subject:
    """Return a ResNet with its bottlenecks merged."""
    cell = vision.resnet(**args).cell
    draw(cell)
    move_norms(cell)
    merged, plan, _ = merge_bottlenecks(cell, share=share, branches=branches, bias=bias)
    ranks = {entry.name: entry.rank[0] for entry in plan.layers}
    dense = {
        name: p.asnumpy().copy()
        for name, p in cell.parameters_and_names()
        if name.rpartition(".")[0].rpartition(".")[0] in ranks
    }
    return Subject(merged, {"ranks": ranks}, dense)


def decomposed(cell: nn.Cell, **settings: Any) -> Subject:
    draw(cell)
    weights = {name: p.asnumpy() for name, p in cell.parameters_and_names()}
    compressed, plan, _ = apply_lowrank(cell, **settings)
    dense = {}
    for layer in plan.layers:
        leaf = "embedding_table" if layer.kind == "embedding" else "weight"
        name = f"{layer.name}.{leaf}" if layer.name else leaf
        dense[name] = weights[name]
    return Subject(compressed, {"ranks": {p.name: list(p.rank) for p in plan.layers}}, dense)
