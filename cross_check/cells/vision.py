"""Networks for images."""

from __future__ import annotations

from typing import Any

import numpy as np
from mindspore import Tensor, nn

from cross_check.cells.subject import Subject, draw, move_norms
from ms_eff.deploy.folding import fold_norms
from ms_eff.methods.gqkva import convert_attention
from ms_eff.methods.skipvit.settings import SkipViTSettings
from ms_eff.methods.skipvit.surgery import apply_skipvit
from ms_eff.models.attention import Attention, attention_core
from ms_eff.models.celu import CELU
from ms_eff.models.efficientnet_lite import EfficientNetLite, MBConv
from ms_eff.models.gelu import GELU
from ms_eff.models.heads import Groups, head_layout
from ms_eff.models.resnet import BasicBlock, Bottleneck, ResNet
from ms_eff.models.resnet9 import ResNet9
from ms_eff.models.vit import VisionTransformer
from ms_eff.train.sync_norm import SyncBatchNorm

__all__ = [
    "efficientnet",
    "folded_resnet",
    "mbconvs",
    "portable",
    "repeating_attention",
    "resnet",
    "resnet9",
    "skipvit",
    "synchronised_norm",
    "vit",
]


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


def efficientnet(num_classes: int, resting: bool = False) -> Subject:
    """Return EfficientNet-Lite0, which has one size; its statistics may rest in training too."""
    cell = EfficientNetLite(num_classes=num_classes)
    for _, part in cell.cells_and_names():
        if resting and isinstance(part, nn.BatchNorm2d):
            part.use_batch_statistics = False
    return Subject(cell)


def skipvit(settings: dict[str, Any], seed: int = 0, **args: Any) -> Subject:
    """Return a vision transformer whose tokens skip blocks; the twin must know how many stay."""
    network = vit(**args).cell
    draw(network)  # its own weights are so small that hardly anything depends on a token
    cell, route = apply_skipvit(network, SkipViTSettings(**settings), seed=seed)
    route_args = {"kept": route.kept, "score": route.score_block, "merge": route.merge_block}
    return Subject(cell, route_args)


def repeating_attention(dim: int, heads: int, kind: str, groups: Groups) -> Subject:
    """Return attention in groups whose core copies what is shared, as some backends have it."""
    rng = np.random.default_rng(0)
    cell = Attention(rng, dim, heads, head_layout(kind, heads, groups))
    cell.core = attention_core(cell.layout, cell.head_dim, "repeat")
    return Subject(cell)


def portable(inputs: int, outputs: int, alpha: float) -> Subject:
    """Return dense layers with the forms of CELU and GELU that exports have."""
    cell = nn.SequentialCell(
        [nn.Dense(inputs, outputs), CELU(alpha), nn.Dense(outputs, outputs), GELU()]
    )
    draw(cell)
    for part in (cell[1], cell[3].cdf):
        part.portable = True
    return Subject(cell)


def synchronised_norm(channels: int) -> Subject:
    """Return the normalisation over all workers' batches, as the only worker has it."""
    norm = SyncBatchNorm(nn.BatchNorm2d(channels), workers=1)
    norm.together = nn.Identity()  # a sum over workers, for which there must be a job
    cell = nn.SequentialCell([nn.Conv2d(3, channels, 1, has_bias=False), norm])
    draw(cell)
    return Subject(cell)
