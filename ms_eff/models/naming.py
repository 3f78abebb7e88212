"""Names of weights in other libraries, as tables that are read in both directions.

A row pairs a cell of ours with the same layer elsewhere. `{s}` stands for a number, `{s+1}` for
one more than the other side's. What follows the cell's name (`weight`, or a low-rank factor's
`0.weight`) is kept, with the last part renamed by the row's leaf table.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

__all__ = ["NAMINGS", "NORM", "PLAIN", "Naming", "Row"]

PLAIN: Mapping[str, str] = {}
# MindSpore's names of a normalisation's arrays -> torch's
NORM: Mapping[str, str] = {
    "gamma": "weight",
    "beta": "bias",
    "moving_mean": "running_mean",
    "moving_variance": "running_var",
}


@dataclass(frozen=True)
class Row:
    """One kind of layer: our cell's name, its name there, and how its arrays are called."""

    ours: str
    theirs: str
    leaves: Mapping[str, str]

    def to_ours(self, key: str) -> str | None:
        """Translate their key, or return None if this row is about other layers."""
        return _translate(key, self.theirs, self.ours, {v: k for k, v in self.leaves.items()})

    def to_theirs(self, key: str) -> str | None:
        """Translate our key, or return None if this row is about other layers."""
        return _translate(key, self.ours, self.theirs, self.leaves)


@dataclass(frozen=True)
class Naming:
    """A library's names for the weights of one family of networks.

    Attributes:
        rows: tried in order; the first that fits decides.
        ignored: keys of theirs that have no counterpart here, as a regular expression.
        note: what a user of such weights should know.
    """

    rows: tuple[Row, ...]
    ignored: str = r"(?!)"
    note: str = ""

    @cached_property
    def _ignored(self) -> re.Pattern[str]:
        return re.compile(self.ignored)

    def ignores(self, key: str) -> bool:
        """Tell whether their key is known to have no counterpart."""
        return self._ignored.search(key) is not None

    def to_ours(self, key: str) -> str | None:
        """Return our name of their key, or None.

        >>> NAMINGS["hf"][0].to_ours("resnet.encoder.stages.1.layers.0.layer.2.convolution.weight")
        'layer2.0.conv3.weight'
        """
        return next((new for row in self.rows if (new := row.to_ours(key)) is not None), None)

    def to_theirs(self, key: str) -> str | None:
        """Return their name of our key, or None.

        >>> NAMINGS["torchvision"][0].to_theirs("layer1.0.bn1.moving_mean")
        'layer1.0.bn1.running_mean'
        """
        return next((new for row in self.rows if (new := row.to_theirs(key)) is not None), None)


_HOLE = re.compile(r"\{(\w+)([+-]\d+)?\}")


def _translate(key: str, source: str, target: str, leaves: Mapping[str, str]) -> str | None:
    found = _pattern(source).fullmatch(key)
    if found is None or (leaves and found["leaf"] not in leaves):
        return None
    # a hole's number counts from the same origin on both sides: {s+1} is written one higher
    origin = {hole[1]: int(found[hole[1]]) - int(hole[2] or 0) for hole in _HOLE.finditer(source)}
    cell = _HOLE.sub(lambda hole: str(origin[hole[1]] + int(hole[2] or 0)), target)
    return f"{cell}{found['inner']}.{leaves.get(found['leaf'], found['leaf'])}"


def _pattern(template: str) -> re.Pattern[str]:
    parts = []
    end = 0
    for hole in _HOLE.finditer(template):
        parts += [re.escape(template[end : hole.start()]), rf"(?P<{hole[1]}>\d+)"]
        end = hole.end()
    parts.append(re.escape(template[end:]))
    return re.compile("".join(parts) + r"(?P<inner>(\.\w+)*)\.(?P<leaf>\w+)")


_COUNTER = r"\.num_batches_tracked$"
_BLOCK = "layer{s}.{b}"
_HF_BLOCK = "resnet.encoder.stages.{s}.layers.{b}"

_RESNET_TORCHVISION = Naming(
    rows=(
        Row("bn1", "bn1", NORM),
        Row(f"{_BLOCK}.bn{{c}}", f"{_BLOCK}.bn{{c}}", NORM),
        Row(f"{_BLOCK}.downsample.1", f"{_BLOCK}.downsample.1", NORM),
        Row("conv1", "conv1", PLAIN),
        Row(f"{_BLOCK}.conv{{c}}", f"{_BLOCK}.conv{{c}}", PLAIN),
        Row(f"{_BLOCK}.downsample.0", f"{_BLOCK}.downsample.0", PLAIN),
        Row("fc", "fc", PLAIN),
    ),
    ignored=_COUNTER,
)
_RESNET_HF = Naming(
    rows=(
        Row("bn1", "resnet.embedder.embedder.normalization", NORM),
        Row("layer{s+1}.{b}.bn{c+1}", f"{_HF_BLOCK}.layer.{{c}}.normalization", NORM),
        Row("layer{s+1}.{b}.downsample.1", f"{_HF_BLOCK}.shortcut.normalization", NORM),
        Row("conv1", "resnet.embedder.embedder.convolution", PLAIN),
        Row("layer{s+1}.{b}.conv{c+1}", f"{_HF_BLOCK}.layer.{{c}}.convolution", PLAIN),
        Row("layer{s+1}.{b}.downsample.0", f"{_HF_BLOCK}.shortcut.convolution", PLAIN),
        Row("fc", "classifier.1", PLAIN),
    ),
    ignored=_COUNTER,
)
_RESNET_MINDCV = Naming(
    rows=(
        Row("bn1", "bn1", PLAIN),
        Row(f"{_BLOCK}.bn{{c}}", f"{_BLOCK}.bn{{c}}", PLAIN),
        Row(f"{_BLOCK}.downsample.{{i}}", f"{_BLOCK}.down_sample.{{i}}", PLAIN),
        Row("conv1", "conv1", PLAIN),
        Row(f"{_BLOCK}.conv{{c}}", f"{_BLOCK}.conv{{c}}", PLAIN),
        Row("fc", "classifier", PLAIN),
    ),
    note="MindCV pads its first max pool at the bottom and right only, this network on all sides "
    "as torchvision does: with the ImageNet stem, outputs differ slightly from MindCV's",
)

# library -> its namings, one a family of networks
NAMINGS: dict[str, tuple[Naming, ...]] = {
    "torchvision": (_RESNET_TORCHVISION,),
    "hf": (_RESNET_HF,),
    "mindcv": (_RESNET_MINDCV,),
}
