"""Networks for images."""

from __future__ import annotations

from typing import Any

import numpy as np
from mindspore import Tensor, nn

from cross_check.cells.subject import Subject, draw, move_norms
from ms_eff.deploy.folding import fold_norms
from ms_eff.methods.gqkva import convert_attention
from ms_eff.models.efficientnet_lite import MBConv
from ms_eff.models.heads import Groups
from ms_eff.models.resnet import BasicBlock, Bottleneck, ResNet
from ms_eff.models.resnet9 import ResNet9
from ms_eff.models.vit import VisionTransformer

__all__ = ["folded_resnet", "mbconvs", "resnet", "resnet9", "vit"]


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


def folded_resnet(**args: Any) -> Subject:
    """Return a ResNet whose normalisations are folded into its convolutions."""
    cell = resnet(**args).cell
    draw(cell)
    move_norms(cell)
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
