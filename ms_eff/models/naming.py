"""Names of weights in other libraries, as tables that are read in both directions.

A row pairs a cell of ours with the same layer elsewhere. `{s}` stands for a number, `{s+1}` for
one more than the other side's. What follows the cell's name (`weight`, or a low-rank factor's
`0.weight`) is kept, with the last part renamed by the row's leaf table. Layers that are one here
and several there are joined and split by a `Join`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, cached_property

import numpy as np

__all__ = ["GPT2", "NAMINGS", "NORM", "PLAIN", "Join", "Naming", "Row"]

Arrays = dict[str, np.ndarray]

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
    """One kind of layer: our cell's name, its name there, and how its arrays are called.

    Without leaves (None) the names are those of arrays, and nothing may follow them.
    """

    ours: str
    theirs: str
    leaves: Mapping[str, str] | None

    def to_ours(self, key: str) -> str | None:
        """Translate their key, or return None if this row is about other layers."""
        back = None if self.leaves is None else {v: k for k, v in self.leaves.items()}
        return _translate(key, self.theirs, self.ours, back)

    def to_theirs(self, key: str) -> str | None:
        """Translate our key, or return None if this row is about other layers."""
        return _translate(key, self.ours, self.theirs, self.leaves)


@dataclass(frozen=True)
class Join:
    """Arrays that are one here, stacked along the first axis, and several there.

    Attributes:
        whole: the end of the name that the stack has in the naming's rows.
        parts: the ends of their names, in the order of the stack.
    """

    whole: str
    parts: tuple[str, ...]

    def join(self, arrays: Arrays) -> Arrays:
        """Stack their arrays; those of which a part is missing stay as they are."""
        done = dict(arrays)
        for key in arrays:
            stem = key.removesuffix(self.parts[0])
            names = [stem + part for part in self.parts]
            if stem != key and all(name in arrays for name in names):
                done[stem + self.whole] = np.concatenate([done.pop(name) for name in names])
        return done

    def split(self, arrays: Arrays) -> Arrays:
        """Take the stacks apart again."""
        done = dict(arrays)
        for key in arrays:
            stem = key.removesuffix(self.whole)
            if stem != key:
                pieces = np.split(done.pop(key), len(self.parts))
                done |= {stem + part: a for part, a in zip(self.parts, pieces, strict=True)}
        return done


@dataclass(frozen=True)
class Naming:
    """A library's names for the weights of one family of networks.

    Attributes:
        rows: tried in order; the first that fits decides.
        ignored: keys of theirs that have no counterpart here, as a regular expression.
        note: what a user of such weights should know.
        ours_only: keys of ours that have no counterpart there, as a regular expression.
        joins: what is several arrays there; `rows` speak of the joined ones.
        transposed: keys of theirs whose matrices are (in, out), as a regular expression.
    """

    rows: tuple[Row, ...]
    ignored: str = r"(?!)"
    note: str = ""
    joins: tuple[Join, ...] = ()
    ours_only: str = r"(?!)"
    transposed: str = r"(?!)"

    @cached_property
    def _ignored(self) -> re.Pattern[str]:
        return re.compile(self.ignored)

    def ignores(self, key: str) -> bool:
        """Tell whether their key is known to have no counterpart."""
        return self._ignored.search(key) is not None

    def keeps(self, key: str) -> bool:
        """Tell whether our key is known to have no counterpart."""
        return re.search(self.ours_only, key) is not None

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

    def join(self, arrays: Arrays) -> Arrays:
        """Return their arrays the way round that ours are, with those joined that are one here."""
        arrays = self._turned(arrays)
        for join in self.joins:
            arrays = join.join(arrays)
        return arrays

    def renamed(self, arrays: Arrays) -> Arrays | None:
        """Return our arrays as theirs, or None if one of them has no name there."""
        known = {key: array for key, array in arrays.items() if not self.keeps(key)}
        named = {self.to_theirs(key): array for key, array in known.items()}
        if None in named:
            return None
        theirs = {str(key): array for key, array in named.items()}
        for join in self.joins:
            theirs = join.split(theirs)
        return self._turned(theirs)

    def _turned(self, theirs: Arrays) -> Arrays:
        turn = re.compile(self.transposed)
        return {key: a.T if turn.search(key) else a for key, a in theirs.items()}


_HOLE = re.compile(r"\{(\w+)([+-]\d+)?\}")


def _translate(key: str, source: str, target: str, leaves: Mapping[str, str] | None) -> str | None:
    found = _pattern(source, leaves is not None).fullmatch(key)
    if found is None or (leaves and found["leaf"] not in leaves):
        return None
    # a hole's number counts from the same origin on both sides: {s+1} is written one higher
    origin = {hole[1]: int(found[hole[1]]) - int(hole[2] or 0) for hole in _HOLE.finditer(source)}
    cell = _HOLE.sub(lambda hole: str(origin[hole[1]] + int(hole[2] or 0)), target)
    if leaves is None:
        return cell
    return f"{cell}{found['inner']}.{leaves.get(found['leaf'], found['leaf'])}"


@cache
def _pattern(template: str, followed: bool) -> re.Pattern[str]:
    parts = []
    end = 0
    for hole in _HOLE.finditer(template):
        parts += [re.escape(template[end : hole.start()]), rf"(?P<{hole[1]}>\d+)"]
        end = hole.end()
    parts.append(re.escape(template[end:]))
    if followed:
        parts.append(r"(?P<inner>(\.\w+)*)\.(?P<leaf>\w+)")
    return re.compile("".join(parts))


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

_TIMM_BLOCK = "blocks.{b}"
_VIT_TIMM = Naming(
    rows=(
        Row(f"{_TIMM_BLOCK}.norm{{n}}", f"{_TIMM_BLOCK}.norm{{n}}", NORM),
        Row("norm", "norm", NORM),
        Row("fc_norm", "fc_norm", NORM),
        Row("cls_token", "cls_token", None),
        Row("pos_embed", "pos_embed", None),
        Row("patch_embed.proj", "patch_embed.proj", PLAIN),
        Row(f"{_TIMM_BLOCK}.attn.qkv", f"{_TIMM_BLOCK}.attn.qkv", PLAIN),
        Row(f"{_TIMM_BLOCK}.attn.proj", f"{_TIMM_BLOCK}.attn.proj", PLAIN),
        Row(f"{_TIMM_BLOCK}.mlp.fc{{n}}", f"{_TIMM_BLOCK}.mlp.fc{{n}}", PLAIN),
        Row("head", "head", PLAIN),
    ),
)


def _vit_hf(prefix: str) -> Naming:
    """Return the naming of ViTForImageClassification (`vit.`) or of a bare ViTModel (``)."""
    block, attention = f"{prefix}encoder.layer.{{b}}", ".attention.attention"
    return Naming(
        rows=(
            Row("blocks.{b}.norm1", f"{block}.layernorm_before", NORM),
            Row("blocks.{b}.norm2", f"{block}.layernorm_after", NORM),
            Row("norm", f"{prefix}layernorm", NORM),
            Row("cls_token", f"{prefix}embeddings.cls_token", None),
            Row("pos_embed", f"{prefix}embeddings.position_embeddings", None),
            Row("patch_embed.proj", f"{prefix}embeddings.patch_embeddings.projection", PLAIN),
            Row("blocks.{b}.attn.qkv.weight", f"{block}{attention}.qkv.weight", None),
            Row("blocks.{b}.attn.qkv.bias", f"{block}{attention}.qkv.bias", None),
            Row("blocks.{b}.attn.proj", f"{block}.attention.output.dense", PLAIN),
            Row("blocks.{b}.mlp.fc1", f"{block}.intermediate.dense", PLAIN),
            Row("blocks.{b}.mlp.fc2", f"{block}.output.dense", PLAIN),
            Row("head", "classifier", PLAIN),
        ),
        ignored=r"(^|\.)(pooler\.dense\.|embeddings\.mask_token$)",
        joins=_qkv_joins(attention),
    )


def _qkv_joins(attention: str) -> tuple[Join, ...]:
    """Return the joins of query, key and value that are layers of their own there."""
    return tuple(
        Join(
            f"{attention}.qkv.{leaf}",
            tuple(f"{attention}.{part}.{leaf}" for part in ("query", "key", "value")),
        )
        for leaf in ("weight", "bias")
    )


# counters of dropout, which no other library keeps with the weights
_DRAWN = r"(^|\.)drawn$"


def _bert_hf(prefix: str, pooler: bool) -> Naming:
    """Return the naming of a BERT encoder below a prefix, its pooler used or ignored.

    Prefixes: `bert.` of BertForSequenceClassification, none of a bare BertModel (most MiniLMs),
    `0.auto_model.` of sentence-transformers. Early files call a normalisation's arrays gamma and
    beta, as MindSpore does.
    """
    layer = f"{prefix}encoder.layer.{{b}}"
    attention = ".attention.self"
    norms = (
        ("embeddings.norm", f"{prefix}embeddings.LayerNorm"),
        ("blocks.{b}.norm1", f"{layer}.attention.output.LayerNorm"),
        ("blocks.{b}.norm2", f"{layer}.output.LayerNorm"),
    )
    unused = "" if pooler else r"|(^|\.)pooler\.dense\."
    return Naming(
        rows=(
            *(Row(*names, leaves) for leaves in (NORM, PLAIN) for names in norms),
            Row("embeddings.word", f"{prefix}embeddings.word_embeddings", PLAIN),
            Row("embeddings.position", f"{prefix}embeddings.position_embeddings", PLAIN),
            Row("embeddings.type", f"{prefix}embeddings.token_type_embeddings", PLAIN),
            Row("blocks.{b}.attn.qkv.weight", f"{layer}{attention}.qkv.weight", None),
            Row("blocks.{b}.attn.qkv.bias", f"{layer}{attention}.qkv.bias", None),
            Row("blocks.{b}.attn.proj", f"{layer}.attention.output.dense", PLAIN),
            Row("blocks.{b}.fc1", f"{layer}.intermediate.dense", PLAIN),
            Row("blocks.{b}.fc2", f"{layer}.output.dense", PLAIN),
            Row("pooler", f"{prefix}pooler.dense", PLAIN),
            Row("head", "classifier", PLAIN),
        ),
        ignored=rf"(^|\.)embeddings\.position_ids$|^cls\.{unused}",
        joins=_qkv_joins(attention),
        ours_only=_DRAWN,
    )


def _gpt2_hf(prefix: str) -> Naming:
    """Return the naming of GPT-2: `transformer.` of its models with a head, none of a bare one.

    Its dense layers are transformers' Conv1D, whose matrices are (in, out); early files hold the
    causal masks as well.
    """
    block = f"{prefix}h.{{b}}"
    return Naming(
        rows=(
            Row("word", f"{prefix}wte", PLAIN),
            Row("position", f"{prefix}wpe", PLAIN),
            Row("blocks.{b}.norm{n}", f"{block}.ln_{{n}}", NORM),
            Row("norm", f"{prefix}ln_f", NORM),
            Row("blocks.{b}.attn.qkv", f"{block}.attn.c_attn", PLAIN),
            Row("blocks.{b}.attn.proj", f"{block}.attn.c_proj", PLAIN),
            Row("blocks.{b}.fc1", f"{block}.mlp.c_fc", PLAIN),
            Row("blocks.{b}.fc2", f"{block}.mlp.c_proj", PLAIN),
            Row("head", "score", PLAIN),
        ),
        # the output layer is the token embedding again
        ignored=r"^lm_head\.weight$|\.attn\.(masked_)?bias$",
        transposed=r"\.c_(attn|proj|fc)\.weight$",
        ours_only=_DRAWN,
    )


_EFFICIENTNET = Naming(
    rows=(
        Row("conv_stem", "_conv_stem", PLAIN),
        Row("conv_head", "_conv_head", PLAIN),
        Row("bn{c}", "_bn{c}", NORM),
        Row("blocks.{b}.bn{c}", "_blocks.{b}._bn{c}", NORM),
        Row("blocks.{b}.expand_conv", "_blocks.{b}._expand_conv", PLAIN),
        Row("blocks.{b}.depthwise_conv", "_blocks.{b}._depthwise_conv", PLAIN),
        Row("blocks.{b}.project_conv", "_blocks.{b}._project_conv", PLAIN),
        Row("fc", "_fc", PLAIN),
    ),
    ignored=_COUNTER,
)

# of a torch module with the same cells
_RESNET9 = Naming(
    rows=(
        *(
            Row(f"{cell}.{leaf}", f"{cell}.{leaf}", leaves)
            for cell in ("prep", "layer{s}", "residual{s}.block{b}")
            for leaf, leaves in (("bn", NORM), ("conv", PLAIN))
        ),
        Row("fc", "fc", PLAIN),
    ),
    ignored=_COUNTER,
)

_R3D_NORMS = ("stem.1", *(f"{_BLOCK}.{part}.1" for part in ("conv{c}", "downsample")))
_R3D_CONVS = ("stem.0", *(f"{_BLOCK}.{part}.0" for part in ("conv{c}", "downsample")))
_R3D_TORCHVISION = Naming(
    rows=(
        *(Row(f"{name}.bn2d", name, NORM) for name in _R3D_NORMS),
        *(Row(name, name, PLAIN) for name in (*_R3D_CONVS, "fc")),
    ),
    ignored=_COUNTER,
)

_INCEPTION_MIXED = ("branch3x3dbl_1", "branch3x3dbl_2", "branch3x3dbl_3")
_INCEPTION_A = ("branch1x1", "branch5x5_1", "branch5x5_2", *_INCEPTION_MIXED, "branch_pool")
_INCEPTION_CELLS = (
    *(f"Conv2d_{name}" for name in ("1a_3x3", "2a_3x3", "2b_3x3", "3b_1x1", "4a_3x3")),
    *(f"Mixed_{name}.{part}" for name in ("5b", "5c") for part in _INCEPTION_A),
    *(f"Mixed_5d.{part}" for part in _INCEPTION_MIXED),
)
_INCEPTION_FRONT = Naming(
    rows=tuple(
        Row(f"{cell}.{part}", f"{cell}.{part}", leaves)
        for cell in _INCEPTION_CELLS
        for part, leaves in (("conv", PLAIN), ("bn", NORM))
    ),
    ignored=_COUNTER,
)

# of a model with a head, and of a bare one
GPT2 = (_gpt2_hf("transformer."), _gpt2_hf(""))

# library -> its namings, one a family of networks
NAMINGS: dict[str, tuple[Naming, ...]] = {
    "torchvision": (_RESNET_TORCHVISION, _RESNET9, _R3D_TORCHVISION, _INCEPTION_FRONT),
    "timm": (_RESNET_TORCHVISION, _VIT_TIMM),
    "hf": (
        *(_RESNET_HF, _vit_hf("vit."), _vit_hf("")),
        # of two that know as many arrays the first is taken: an unused pooler is no surprise
        *(_bert_hf(p, pooler) for pooler in (False, True) for p in ("bert.", "", "0.auto_model.")),
        *GPT2,
    ),
    "mindcv": (_RESNET_MINDCV,),
    "efficientnet_pytorch": (_EFFICIENTNET,),
}
