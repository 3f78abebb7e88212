"""What recipes train: tiny networks with their data, and what the networks are called in torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, ClassVar

import numpy as np
from mindspore import Tensor, nn

from ms_eff import models
from ms_eff.data.base import Batch, DataSet, Split
from ms_eff.data.randomness import RngKey
from ms_eff.models.eco_lite import EcoLite
from ms_eff.models.initial import batch_norm, conv2d, dense
from ms_eff.models.naming import NAMINGS, NORM
from ms_eff.models.resnet import BasicBlock, Bottleneck, ResNet

__all__ = ["HOSTS", "Host", "renamed"]

_OF_IMAGES = {"in_channels": 3, "num_classes": 3}
SAMPLES, TESTED, CLASSES, SIDE = 40, 16, 3, 8
LENGTH, VOCAB = 12, 20


class _Fixed(Split):
    """Arrays as they are, without augmentation."""

    def __init__(self, inputs: np.ndarray, labels: np.ndarray, per_sample: np.ndarray) -> None:
        classes = tuple(map(str, range(CLASSES)))
        super().__init__(per_sample.astype(np.int32), classes, inputs.shape[1:])
        self.inputs, self.wanted = inputs, labels.astype(np.int32)

    def batch(self, indices: np.ndarray, key: RngKey | None = None) -> Batch:
        return self.inputs[indices], self.wanted[indices]


class _Language(DataSet):
    task: ClassVar[str] = "language"


def _images(rng: np.random.Generator) -> DataSet:
    """Return images of a pattern a class and noise; some labels are wrong, so that loss stays."""
    patterns = rng.standard_normal((CLASSES, 3, SIDE, SIDE))

    def split(size: int) -> Split:
        labels = rng.integers(0, CLASSES, size)
        images = patterns[labels] + rng.standard_normal((size, 3, SIDE, SIDE))
        wrong = rng.random(size) < 0.2
        return _of(images.astype(np.float32), np.where(wrong, 0, labels))

    return DataSet("images", split(SAMPLES), split(TESTED), (0.0,) * 3, (1.0,) * 3)


def _of(inputs: np.ndarray, labels: np.ndarray) -> Split:
    return _Fixed(inputs, labels, labels)


def _clips(rng: np.random.Generator) -> DataSet:
    """Return clips of noise."""

    def split(size: int) -> Split:
        clips = rng.standard_normal((size, 4, 3, SIDE, SIDE)).astype(np.float32)
        return _of(clips, rng.integers(0, CLASSES, size))

    return DataSet("clips", split(SAMPLES), split(TESTED), (), ())


def _sentences(rng: np.random.Generator) -> DataSet:
    """Return texts of 6 to 12 words between two frame tokens, with masks and types."""

    def split(size: int) -> Split:
        tokens = np.zeros((size, 3, LENGTH), np.int32)
        for text in tokens:
            length = int(rng.integers(LENGTH // 2, LENGTH + 1))
            text[0, :length] = [1, *rng.integers(3, VOCAB, length - 2), 2]
            text[1, :length] = 1
            text[2, length // 2 : length] = 1
        return _of(tokens, rng.integers(0, CLASSES, size))

    return DataSet("sentences", split(SAMPLES), split(TESTED), (), ())


def _blocks(rng: np.random.Generator) -> DataSet:
    """Return blocks of a text in which each token but few says what comes next."""

    def split(size: int) -> Split:
        ids = np.cumsum(rng.choice([1, 2], size * LENGTH, p=[0.8, 0.2])) % VOCAB
        blocks = ids.reshape(size, LENGTH).astype(np.int32)
        return _Fixed(blocks, blocks, np.zeros(size))

    return _Language("blocks", split(SAMPLES), split(TESTED), (), ())


class _Net(nn.Cell):
    """Two convolutions with norms, without corners, and a mean over the image."""

    def __init__(self, width: int = 6) -> None:
        super().__init__()
        rng = np.random.default_rng(0)
        self.conv1 = conv2d(rng, 3, width, 3)
        self.bn1 = batch_norm(width)
        self.conv2 = conv2d(rng, width, 2 * width, 3, stride=2)
        self.bn2 = batch_norm(2 * width)
        self.fc = dense(rng, 2 * width, CLASSES)
        self.act = nn.Tanh()

    def construct(self, x: Tensor) -> Tensor:
        x = self.act(self.bn1(self.conv1(x)))
        x = self.act(self.bn2(self.conv2(x)))
        return self.fc(x.mean((2, 3)))


def _resnet(block: str, layers: list[int], **args: Any) -> nn.Cell:
    one, two, three, four = layers
    kind = Bottleneck if block == "bottleneck" else BasicBlock
    return ResNet(kind, (one, two, three, four), **args)


def _net(**args: Any) -> nn.Cell:
    return _Net(**args)


@dataclass(frozen=True)
class Host:
    """A network, its data, and its name in torch.

    Attributes:
        build: the network for the recipe's `args`, over these defaults.
        args: defaults.
        data: from a generator of random numbers.
        twin: the same network, `module:function` under `cross_check.twins`.
        naming: a library of `ms_eff.models.naming`, or `torch` for our cells' names with torch's
            names of their arrays.
        model: its name in a checkpoint's description; the registry's.
        train: settings of the training that it needs.
    """

    build: Callable[..., nn.Cell]
    data: Callable[[np.random.Generator], DataSet]
    twin: str
    naming: str = "torch"
    args: Mapping[str, Any] = field(default_factory=dict)
    train: Mapping[str, Any] = field(default_factory=dict)
    model: str = ""


_VIT = {"image_size": SIDE, "patch_size": 4, "dim": 12, "depth": 2, "heads": 3}

HOSTS: dict[str, Host] = {
    "images": Host(_net, _images, "recipes.nets:net"),
    "vit": Host(
        partial(models.build, "vit"),
        _images,
        "vit:plain_vit",
        "timm",
        {**_VIT, **_OF_IMAGES},
        model="vit",
    ),
}

_CLIPS = {"widths": [4, 6], "num_classes": CLASSES, "frames": 4}
_RESNET = {"block": "bottleneck", "layers": [1, 1, 1, 1], "width": 8, "num_classes": CLASSES}
_WIDE = {"dim": 12, "heads": 3, "vocab": VOCAB, "positions": LENGTH}
_BERT = {**_WIDE, "depth": 2, "hidden": 20, "num_classes": CLASSES, "pool": "token"}
HOSTS |= {
    "bert": Host(
        partial(models.build, "bert"), _sentences, "bert:hf_bert", "hf", _BERT, model="bert"
    ),
    "clips": Host(
        partial(EcoLite, "small", image_size=SIDE), _clips, "clips:eco_lite", args=_CLIPS
    ),
    "resnet": Host(_resnet, _images, "merged:resnet", "torchvision", {**_RESNET, "stem": "cifar"}),
    "gpt2": Host(
        partial(models.build, "gpt2"),
        _blocks,
        "gpt2:hf_gpt2",
        "hf",
        {**_WIDE, "depth": 2},
        model="gpt2",
    ),
}

# parameters that are no weights: counters of draws, and what a normalisation computes in between
_UNNAMED = ("drawn", "part_mean", "part_variance")


def renamed(arrays: Mapping[str, np.ndarray], naming: str) -> dict[str, np.ndarray]:
    """Return a network's arrays under its twin's names.

    Raises:
        KeyError: one has no name there.
    """
    arrays = {k: a for k, a in arrays.items() if k.rpartition(".")[2] not in _UNNAMED}
    if naming == "torch":
        return {_as_torch(name): array for name, array in arrays.items()}
    for table in NAMINGS[naming]:
        named = table.renamed(dict(arrays))
        if named is not None:
            return named
    raise KeyError(f"{naming}: a parameter of {next(iter(arrays))} and others has no name there")


def _as_torch(name: str) -> str:
    # norms of 5D tensors are a cell within a cell here
    cell, _, leaf = name.replace(".bn2d.", ".").rpartition(".")
    leaf = {"embedding_table": "weight", **NORM}.get(leaf, leaf)
    return f"{cell}.{leaf}".lstrip(".")
