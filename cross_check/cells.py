"""The MindSpore cells of the cases."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from mindspore import Tensor, nn

from ms_eff.methods.gqkva import convert_attention
from ms_eff.methods.lowrank.merging import merge_bottlenecks
from ms_eff.methods.lowrank.surgery import apply_lowrank
from ms_eff.models.bert import BertClassifier
from ms_eff.models.heads import Groups
from ms_eff.models.resnet import BasicBlock, Bottleneck, ResNet
from ms_eff.models.vit import VisionTransformer

__all__ = [
    "Subject",
    "bert",
    "lowrank_conv",
    "lowrank_dense",
    "lowrank_embedding",
    "lowrank_resnet",
    "merged_resnet",
    "resnet",
    "vit",
]


@dataclass(frozen=True)
class Subject:
    """A cell under test.

    Attributes:
        cell: with finished weights.
        args: what the twin's builder must know besides the case's own (ranks).
        dense: the weights that were decomposed, by our names.
    """

    cell: nn.Cell
    args: dict[str, Any] = field(default_factory=dict)
    dense: dict[str, np.ndarray] = field(default_factory=dict)


def resnet(
    block: str, layers: list[int], width: int, num_classes: int, stem: str = "imagenet"
) -> Subject:
    """Return a ResNet."""
    kind = BasicBlock if block == "basic" else Bottleneck
    one, two, three, four = layers
    cell = ResNet(kind, (one, two, three, four), width=width, num_classes=num_classes, stem=stem)
    return Subject(cell)


def vit(grouped: tuple[str, Groups] | None = None, **args: Any) -> Subject:
    """Return a vision transformer, its attention in groups (kind, numbers) if that is given."""
    cell: nn.Cell = VisionTransformer(**args)
    return Subject(cell if grouped is None else convert_attention(cell, *grouped)[0])


def bert(**args: Any) -> Subject:
    """Return a BERT encoder with a head."""
    return Subject(BertClassifier(**args))


def lowrank_dense(C: int, S: int, rank: int) -> Subject:
    """Return a dense layer in two factors."""
    return _decomposed(nn.Dense(C, S), rank=rank)


def lowrank_conv(
    C: int, S: int, rank: int | list[int], kernel: int, branches: int = 1, **geometry: int
) -> Subject:
    """Return a convolution with bias in two (1x1) or three factors, the core in branches."""
    layer = nn.Conv2d(C, S, kernel, pad_mode="pad", has_bias=True, **geometry)
    return _decomposed(layer, ranks={"": rank}, branches=branches)


def lowrank_embedding(V: int, d: int, rank: int) -> Subject:
    """Return an embedding in two factors."""
    return _decomposed(nn.Embedding(V, d), rank=rank, layers=("embedding",))


def lowrank_resnet(ratio: float, **args: Any) -> Subject:
    """Return a ResNet with its layers `ratio` times smaller."""
    return _decomposed(resnet(**args).cell, ratio=ratio)


def merged_resnet(share: float, branches: int = 1, **args: Any) -> Subject:
    """Return a ResNet with its bottlenecks merged."""
    cell = resnet(**args).cell
    _draw(cell)
    rng = np.random.default_rng(4)
    for parameter in cell.get_parameters():  # norms that are worth folding
        if len(parameter.shape) == 1:
            values = rng.uniform(0.5, 1.5, parameter.shape).astype(np.float32)
            parameter.set_data(Tensor(values))
    merged, plan, _ = merge_bottlenecks(cell, share=share, branches=branches)
    ranks = {entry.name: entry.rank[0] for entry in plan.layers}
    dense = {
        name: p.asnumpy().copy()
        for name, p in cell.parameters_and_names()
        if name.rpartition(".")[0].rpartition(".")[0] in ranks
    }
    return Subject(merged, {"ranks": ranks}, dense)


def _decomposed(cell: nn.Cell, **settings: Any) -> Subject:
    _draw(cell)
    weights = {name: p.asnumpy() for name, p in cell.parameters_and_names()}
    compressed, plan, _ = apply_lowrank(cell, **settings)
    dense = {}
    for layer in plan.layers:
        leaf = "embedding_table" if layer.kind == "embedding" else "weight"
        name = f"{layer.name}.{leaf}" if layer.name else leaf
        dense[name] = weights[name]
    return Subject(compressed, {"ranks": {p.name: list(p.rank) for p in plan.layers}}, dense)


def _draw(cell: nn.Cell) -> None:
    """Draw matrices and kernels anew: MindSpore's initialisers follow a global seed."""
    rng = np.random.default_rng(3)
    for parameter in cell.get_parameters():
        if len(parameter.shape) > 1:
            fan_in = np.prod(parameter.shape[1:])
            values = rng.standard_normal(parameter.shape) / np.sqrt(fan_in)
            parameter.set_data(Tensor(values.astype(np.float32)))
