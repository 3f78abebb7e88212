"""The networks that `ms_eff.bench.lite_check` converts for MindSpore Lite, at two sizes.

Weights are random, since a converter does not look at them; biases and the statistics of
normalisations are moved off their zeros and ones, so that a lost one shows in the outputs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import mindspore as ms
import numpy as np
from mindspore import nn

import ms_eff
from ms_eff import models
from ms_eff.deploy.inputs import InputSpec
from ms_eff.methods.skipvit.settings import SkipViTSettings
from ms_eff.methods.spatiotemporal.core import VARIANTS

__all__ = ["ROWS", "SIZES", "Subject", "build"]

SIZES = ("full", "quick")
_VOCABULARY = 211  # of language models at the quick size


@dataclass(frozen=True)
class Subject:
    """A network to convert.

    Attributes:
        network: in MindSpore.
        input: what it takes, at the batch size to export.
        refused: whether Lite is expected to refuse it.
    """

    network: nn.Cell
    input: InputSpec
    refused: bool = False


def build(row: str, size: str) -> Subject:
    """Return the network of a row, with weights from seed 0.

    Args:
        row: one of `ROWS`.
        size: `full`, as it would be deployed, or `quick`, its structure at a few channels.
    """
    return ROWS[row](size == "full")


def _resnet(full: bool) -> Subject:
    args: dict[str, Any] = {} if full else {"width": 8, "num_classes": 10}
    network = models.build("resnet50", seed=0, **args)
    side = 224 if full else 64
    return Subject(_lively(network), InputSpec((2, 3, side, side)))


def _decomposed(full: bool) -> Subject:
    dense = _resnet(full)
    return Subject(ms_eff.apply_lowrank(dense.network, ratio=2.0)[0], dense.input)


def _merged(full: bool) -> Subject:
    dense = _resnet(full)
    return Subject(_lively(ms_eff.merge_bottlenecks(dense.network)[0]), dense.input)


def _vit(full: bool) -> Subject:
    if full:
        network = models.build("vit_small_patch16", seed=0)
        return Subject(_lively(network), InputSpec((2, 3, 224, 224)))
    sizes = {"image_size": 32, "patch_size": 8, "dim": 24, "depth": 3, "heads": 6}
    network = models.build("vit", seed=0, num_classes=10, **sizes)
    return Subject(_lively(network), InputSpec((2, 3, 32, 32)))


def _skipvit(full: bool) -> Subject:
    dense = _vit(full)
    settings = SkipViTSettings() if full else SkipViTSettings(score_block=0, merge_block=2)
    return Subject(ms_eff.apply_skipvit(dense.network, settings)[0], dense.input)


def _gqkva(full: bool) -> Subject:
    dense = _vit(full)
    network = ms_eff.convert_attention(dense.network, "gqkva", (2, 3), fresh_seed=0)[0]
    return Subject(network, dense.input)


def _conv3d(full: bool) -> Subject:
    name, frames, side = ("eco_lite", 16, 243) if full else ("eco_lite_small", 4, 32)
    network = models.build(name, seed=0, frames=frames, image_size=side, num_classes=101)
    shape = InputSpec((1, frames, 3, side, side))
    return Subject(_lively(network), shape, refused=True)


def _flat(variant: str, full: bool, aligned: bool = False) -> Subject:
    dense = _conv3d(full)
    network = ms_eff.apply_spatiotemporal(dense.network, variant, aligned=aligned, fresh_seed=1)[0]
    return Subject(_lively(network), dense.input)


def _gpt2(full: bool) -> Subject:
    sizes = {} if full else {"dim": 24, "depth": 2, "heads": 4, "vocab": _VOCABULARY}
    network = models.build("gpt2_small", seed=0, **sizes)
    tokens = InputSpec((1, 128 if full else 12), "ids", "int32", high=sizes.get("vocab", 50257))
    return Subject(_lively(network), tokens)


def _llama(full: bool) -> Subject:
    shape = {"dim": 576, "heads": 9, "kv_heads": 3, "hidden": 1536, "vocab_size": 49152}
    if not full:  # else SmolLM2-135M's, at a fifth of its depth
        shape = {"dim": 24, "heads": 6, "kv_heads": 2, "hidden": 32, "vocab_size": _VOCABULARY}
    network = models.build("llama", seed=0, depth=6 if full else 2, tied=True, **shape)
    tokens = (1, 128 if full else 12)
    return Subject(network, InputSpec(tokens, "ids", "int32", high=shape["vocab_size"]))


ROWS: dict[str, Callable[[bool], Subject]] = {
    "resnet50": _resnet,
    "resnet50, decomposed": _decomposed,
    "resnet50, merged": _merged,
    "vit_small": _vit,
    "vit_small, skipvit": _skipvit,
    "vit_small, gqkva": _gqkva,
    "eco_lite, add": partial(_flat, "add"),
    "eco_lite, conv3d": _conv3d,
    "gpt2_small, prefill": _gpt2,
    "llama, prefill": _llama,
    # behind the rest, so that recorded rows keep their order
    "eco_lite, add, aligned": partial(_flat, "add", aligned=True),
    "eco_lite, cat, aligned": partial(_flat, "cat", aligned=True),
    **{f"eco_lite, {v}": partial(_flat, v) for v in VARIANTS if v not in ("conv3d", "add")},
}


def _lively(network: nn.Cell) -> nn.Cell:
    rng = np.random.default_rng(0)
    for parameter in network.get_parameters():
        if len(parameter.shape) == 1:
            values = parameter.asnumpy() + rng.uniform(-0.1, 0.1, parameter.shape)
            parameter.set_data(ms.Tensor(values.astype(np.float32)))
    return network
