"""The names that weights have in other libraries, a table for each and each family of networks.

How rows are read stands in `ms_eff.models.renaming`.
"""

from __future__ import annotations

from ms_eff.models.renaming import NORM, PLAIN, Join, Naming, Row

__all__ = ["GPT2", "NAMINGS"]

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
