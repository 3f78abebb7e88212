"""The MindSpore cells of the cases."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from mindspore import Tensor, nn, ops

from ms_eff.deploy.folding import fold_norms
from ms_eff.methods.distillation import losses
from ms_eff.methods.distillation.rail import Form, LayerDistance
from ms_eff.methods.gqkva import convert_attention
from ms_eff.methods.lowrank.merging import merge_bottlenecks
from ms_eff.methods.lowrank.surgery import apply_lowrank
from ms_eff.methods.spatiotemporal import apply_spatiotemporal
from ms_eff.methods.truncation import truncate_layers
from ms_eff.models.bert import BertClassifier
from ms_eff.models.eco_lite import EcoLite
from ms_eff.models.efficientnet_lite import MBConv
from ms_eff.models.gpt2 import GPT2
from ms_eff.models.gpt2_classifier import GPT2Classifier
from ms_eff.models.heads import Groups
from ms_eff.models.r3d import ResNet3d
from ms_eff.models.resnet import BasicBlock, Bottleneck, ResNet
from ms_eff.models.resnet9 import ResNet9
from ms_eff.models.vit import VisionTransformer

__all__ = [
    "Subject",
    "bert",
    "distance_of_layers",
    "eco_lite",
    "folded_resnet",
    "frozen_conv",
    "gpt2",
    "gpt2_classifier",
    "lowrank_conv",
    "lowrank_dense",
    "lowrank_embedding",
    "lowrank_resnet",
    "lowrank_vit",
    "mbconvs",
    "merged_resnet",
    "r3d18",
    "resnet",
    "resnet9",
    "taught",
    "truncated_gpt2",
    "vit",
    "weighted_dense",
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


def resnet9(width: int, form: str) -> Subject:
    """Return a ResNet-9."""
    return Subject(ResNet9(width=width, form=form))


def vit(grouped: tuple[str, Groups] | None = None, **args: Any) -> Subject:
    """Return a vision transformer, its attention in groups (kind, numbers) if that is given."""
    cell: nn.Cell = VisionTransformer(**args)
    return Subject(cell if grouped is None else convert_attention(cell, *grouped)[0])


def eco_lite(variant: str, aligned: bool, **args: Any) -> Subject:
    """Return a small network for clips whose 3D convolutions are a variant's."""
    cell: nn.Cell = EcoLite("small", image_size=8, **args)
    return Subject(apply_spatiotemporal(cell, variant, aligned=aligned, fresh_seed=1)[0])


def r3d18(**args: Any) -> Subject:
    """Return a plain residual network of 3D convolutions."""
    return Subject(ResNet3d((1, 1, 1, 1), image_size=8, **args))


def bert(**args: Any) -> Subject:
    """Return a BERT encoder with a head."""
    return Subject(BertClassifier(**args))


class _Taught(nn.Cell):
    def __init__(self, term: str, inputs: int, classes: int, value: float) -> None:
        super().__init__()
        self.term, self.value = term, value
        self.student = nn.Dense(inputs, classes)
        self.teacher = nn.Dense(inputs, classes)
        for parameter in self.teacher.get_parameters():
            parameter.requires_grad = False

    def construct(self, x: Tensor) -> Tensor:
        student, teacher = self.student(x), ops.stop_gradient(self.teacher(x))
        if self.term == "divergence":
            return losses.divergence(student, teacher, self.value)
        if self.term == "squared error":
            return losses.squared_error(student, teacher, self.value)
        return losses.disagreement(student, teacher)


def taught(**args: Any) -> Subject:
    """Return a student and a resting teacher, with one of the losses of distillation."""
    cell = _Taught(**args)
    _draw(cell)
    return Subject(cell)


class _Layers(nn.Cell):
    def __init__(self, layers: int, dims: list[int], width: int, form: Form) -> None:
        super().__init__()
        self.layers = layers
        self.distance = LayerDistance(layers, (dims[0], dims[1]), width, form, seed=0)
        for name, parameter in self.parameters_and_names():
            parameter.name = name

    def construct(self, x: Tensor) -> Tensor:
        x = ops.transpose(x, (1, 0, 2))
        return self.distance(x[: self.layers], x[self.layers :])


def distance_of_layers(**args: Any) -> Subject:
    """Return RAIL's distance of the student's layers and the teacher's, stacked in one input."""
    return Subject(_Layers(**args))


def gpt2(**args: Any) -> Subject:
    """Return a GPT-2."""
    return Subject(GPT2(**args))


def truncated_gpt2(keep: int, **args: Any) -> Subject:
    """Return a GPT-2 with some of its blocks; the twin must know which."""
    cell, plan, _ = truncate_layers(GPT2(**args), keep)
    return Subject(cell, {"kept": list(plan.kept)})


def gpt2_classifier(**args: Any) -> Subject:
    """Return a GPT-2 with a head on the last token."""
    return Subject(GPT2Classifier(**args))


def lowrank_dense(C: int, S: int, rank: int) -> Subject:
    """Return a dense layer in two factors."""
    return _decomposed(nn.Dense(C, S), rank=rank)


def lowrank_conv(
    C: int, S: int, rank: int | list[int], kernel: int, branches: int = 1, **geometry: int
) -> Subject:
    """Return a convolution with bias in two (1x1) or three factors, the core in branches."""
    layer = nn.Conv2d(C, S, kernel, pad_mode="pad", has_bias=True, **geometry)
    return _decomposed(layer, ranks={"": rank}, branches=branches)


def frozen_conv(frozen: list[str], **args: Any) -> Subject:
    """Return a convolution in factors of which some rest."""
    subject = lowrank_conv(**args)
    for name, factor in subject.cell.factors().items():
        factor.requires_grad = name not in frozen
    return subject


def weighted_dense(C: int, S: int, rank: int, samples: int) -> Subject:
    """Return a dense layer in factors that keep its outputs on some inputs; these come along."""
    inputs = np.random.default_rng(5).standard_normal((samples, C)) * np.linspace(0.1, 3.0, C)
    inputs = inputs.astype(np.float32)
    subject = _decomposed(
        nn.Dense(C, S), rank=rank, criterion="activation", calibration=[inputs],
        calibration_samples=samples,
    )  # fmt: skip
    return replace(subject, dense={**subject.dense, "inputs": inputs})


def lowrank_vit(ratio: float, **args: Any) -> Subject:
    """Return a vision transformer with its layers `ratio` times smaller."""
    return _decomposed(vit(**args).cell, ratio=ratio)


def folded_resnet(**args: Any) -> Subject:
    """Return a ResNet whose normalisations are folded into its convolutions."""
    cell = resnet(**args).cell
    _draw(cell)
    _move_norms(cell)
    return Subject(fold_norms(cell, (1, 3, 16, 16))[0])


class _Blocks(nn.Cell):
    def __init__(self, blocks: list[list[int]]) -> None:
        super().__init__()
        rng = np.random.default_rng(0)
        self.blocks = nn.CellList([MBConv(rng, *block) for block in blocks])

    def construct(self, x: Tensor) -> Tensor:
        for block in self.blocks:
            x = block(x)
        return x


def mbconvs(blocks: list[list[int]]) -> Subject:
    """Return EfficientNet's blocks (inputs, outputs, kernel, stride, expansion) in series."""
    return Subject(_Blocks(blocks))


def lowrank_embedding(V: int, d: int, rank: int) -> Subject:
    """Return an embedding in two factors."""
    return _decomposed(nn.Embedding(V, d), rank=rank, layers=("embedding",))


def lowrank_resnet(ratio: float, **args: Any) -> Subject:
    """Return a ResNet with its layers `ratio` times smaller."""
    return _decomposed(resnet(**args).cell, ratio=ratio)


def merged_resnet(share: float, branches: int = 1, bias: bool = True, **args: Any) -> Subject:
    """Return a ResNet with its bottlenecks merged."""
    cell = resnet(**args).cell
    _draw(cell)
    _move_norms(cell)
    merged, plan, _ = merge_bottlenecks(cell, share=share, branches=branches, bias=bias)
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


def _move_norms(cell: nn.Cell) -> None:
    """Make norms that are worth folding."""
    rng = np.random.default_rng(4)
    for parameter in cell.get_parameters():
        if len(parameter.shape) == 1:
            values = rng.uniform(0.5, 1.5, parameter.shape).astype(np.float32)
            parameter.set_data(Tensor(values))


def _draw(cell: nn.Cell) -> None:
    """Draw matrices and kernels anew: MindSpore's initialisers follow a global seed."""
    rng = np.random.default_rng(3)
    for parameter in cell.get_parameters():
        if len(parameter.shape) > 1:
            fan_in = np.prod(parameter.shape[1:])
            values = rng.standard_normal(parameter.shape) / np.sqrt(fan_in)
            parameter.set_data(Tensor(values.astype(np.float32)))
