"""A small ViT whose logits depend on everything."""

from __future__ import annotations

from typing import Any

import mindspore as ms
import numpy as np
from mindspore import nn

from ms_eff import models
from ms_eff.methods.skipvit import Route, SkipViTSettings, apply_skipvit

SIZES = {"image_size": 16, "patch_size": 4, "dim": 12, "depth": 4, "heads": 6, "num_classes": 3}


def lively_vit(seed: int = 0, **sizes: Any) -> nn.Cell:
    """Return a network with every array moved off its initial zeros and ones."""
    network = models.build("vit", **{**SIZES, **sizes})
    rng = np.random.default_rng(seed)
    for parameter in network.get_parameters():
        spread = 0.3 * rng.standard_normal(parameter.shape).astype(np.float32)
        parameter.set_data(ms.Tensor(parameter.asnumpy() + spread))
    return network


def routed_vit(network: nn.Cell | None = None, **settings: Any) -> tuple[nn.Cell, Route]:
    """Return it with tokens that skip blocks 1 and 2 of four."""
    wishes = SkipViTSettings(**{"score_block": 0, "merge_block": 3, **settings})
    return apply_skipvit(network or lively_vit(), wishes)


def images(batch: int = 2, channels: int = 3) -> np.ndarray:
    rng = np.random.default_rng(7)
    return rng.standard_normal((batch, channels, 16, 16), dtype=np.float32)
