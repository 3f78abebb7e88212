"""Token skipping put into a vision transformer."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import mindspore as ms
import numpy as np
from mindspore import Tensor, nn

from ms_eff.errors import ConfigError, PlanError
from ms_eff.methods.replace import replaced
from ms_eff.methods.skipvit.cells import RoutedBlocks
from ms_eff.methods.skipvit.core import Route
from ms_eff.methods.skipvit.settings import SkipViTSettings
from ms_eff.models.vit import VisionTransformer

__all__ = ["apply_skipvit", "kept_patches", "rebuild", "without_skipping"]


def apply_skipvit(
    network: nn.Cell, settings: SkipViTSettings | None = None, *, seed: int = 0
) -> tuple[nn.Cell, Route]:
    """Return a copy of a ViT whose unimportant tokens skip some blocks (arXiv:2401.15293).

    Weights and their names stay; there are no more of them.

    Args:
        network: a `VisionTransformer` with a class token; its attention may be grouped.
        settings: see there; by default 55 % of the patches skip blocks 6 to 10.
        seed: of random scores.

    Returns:
        The new network and the route, the plan that `rebuild` needs.

    Raises:
        PlanError: the network has no class token, or no such blocks.

    >>> from ms_eff import models
    >>> network = models.build("vit", image_size=8, patch_size=2, dim=8, depth=4, heads=2)
    >>> routed, route = apply_skipvit(network, SkipViTSettings(score_block=0, merge_block=3))
    >>> route.patches, route.kept
    (16, 7)
    """
    wishes = settings or SkipViTSettings()
    patches = _patches(network)
    score, merge = wishes.blocks
    dropped = round(wishes.drop * patches)
    route = Route(patches, dropped, score, merge, wishes.score, wishes.routed_inference, seed)
    return rebuild(network, route), route


def rebuild(network: nn.Cell, route: Route | Mapping[str, Any]) -> nn.Cell:
    """Return a copy of a network with the route of a plan.

    Raises:
        PlanError: the route does not fit the network.
    """
    route = route if isinstance(route, Route) else Route.from_json(route)
    patches = _patches(network)
    route.check(patches, len(network.blocks))
    if isinstance(network.blocks, RoutedBlocks):
        raise PlanError("skipvit: tokens skip in this network already; start from the plain one")
    names = [parameter.name for parameter in network.blocks.get_parameters()]
    # copied with the names they have: a cell renames what is put into it
    routed = RoutedBlocks(copy.deepcopy(list(network.blocks)), route)
    for parameter, name in zip(_of_blocks(routed), names, strict=True):
        parameter.name = name
    if routed.random is not None:
        routed.random.drawn.name = "blocks.random.drawn"
    routed.set_train(network.training)
    return replaced(network, [(network.blocks, routed)])


def kept_patches(network: nn.Cell, images: np.ndarray) -> np.ndarray:
    """Return which patches of each image stay, for pictures.

    Args:
        network: from `apply_skipvit`, scoring by attention.
        images: (B, C, H, W) float32.

    Returns:
        (B, K) ascending indices of patches, row by row in the image.

    Raises:
        ConfigError: no token skips in this network, or at random.
    """
    blocks = getattr(network, "blocks", None)
    if not isinstance(blocks, RoutedBlocks) or blocks.random is not None:
        raise ConfigError("kept_patches: needs a network in which attention decides what skips")
    order = _Order(network).set_train(False)(Tensor(images)).asnumpy()
    return np.asarray(order[:, 1 : 1 + blocks.kept] - 1)


def without_skipping(forward: nn.Cell, model: nn.Cell) -> nn.Cell:
    """Return a copy of a forward over the same parameters in which no token skips.

    Args:
        forward: holds the model somewhere inside.
        model: the network in training; its copy is put into training mode for good.
    """
    memo: dict[int, Any] = {id(parameter): parameter for parameter in forward.get_parameters()}
    dense = copy.deepcopy(forward, memo)
    copied: nn.Cell = memo[id(model)]
    copied.set_train(True)
    for _, part in copied.cells_and_names():
        if isinstance(part, RoutedBlocks):
            part.routing = False
    return dense


class _Order(nn.Cell):
    """Images to the order of their tokens."""

    def __init__(self, network: nn.Cell) -> None:
        super().__init__(auto_prefix=False)
        self.network = network

    def construct(self, images: Tensor) -> ms.Tensor:
        return self.network.blocks.scored(self.network.tokens(images))[1]


def _patches(network: nn.Cell) -> int:
    if not isinstance(network, VisionTransformer) or network.cls_token is None:
        raise PlanError(
            f"skipvit: {type(network).__name__} is no vision transformer with a class token; "
            "build one of `ms_eff list` with pool: token"
        )
    rows, columns = network.grid
    return int(rows * columns)


def _of_blocks(routed: RoutedBlocks) -> list[ms.Parameter]:
    return [parameter for block in routed for parameter in block.get_parameters()]
