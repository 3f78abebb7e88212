"""The cases, one a row: a cell of ours, its torch twins, and the inputs. Data only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["CASES", "Case", "Inputs", "Twin"]


@dataclass(frozen=True)
class Inputs:
    """Shape of the input with its batch axis; integers below `high` if that is given."""

    shape: tuple[int, ...]
    high: int | None = None


@dataclass(frozen=True)
class Twin:
    """The same network in torch.

    Attributes:
        build: `module:function` under `cross_check.twins`.
        naming: a library of `ms_eff.models.naming`, or `torch` for our cells' names with torch's
            names of their arrays.
        args: arguments of `build`; those that the cell decides (ranks) come on top.
    """

    build: str
    naming: str
    args: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Case:
    """One row.

    Attributes:
        name: as it stands in tables and results.
        cell: function of `cross_check.cells`, called with `args`.
        twins: each is compared with the same MindSpore run.
        smooth: whether the cell is without ReLU and the like (see `tolerances.py`).
        dtypes: what is run unless `--dtype` says otherwise; the CPU has no bfloat16 kernels.
        reference: `module:function` under `cross_check.twins` that decomposes anew, or None.
        zero: patterns of the weights, in the twin's names, whose gradient is zero in exact
            arithmetic: a bias before a batch normalisation in training.
        quick: modes in which the fast tests run it; the others are left to the slow ones.
    """

    name: str
    cell: str
    inputs: Inputs
    twins: tuple[Twin, ...]
    args: Mapping[str, Any] = field(default_factory=dict)
    smooth: bool = False
    dtypes: tuple[str, ...] = ("float32",)
    reference: str | None = None
    zero: tuple[str, ...] = ()
    quick: tuple[str, ...] = ("graph", "pynative")


_BASIC = {"block": "basic", "layers": [2, 2, 2, 2], "width": 8, "num_classes": 10}
_BOTTLENECK = {"block": "bottleneck", "layers": [1, 2, 1, 1], "width": 8, "num_classes": 10}
_SHALLOW = {**_BOTTLENECK, "layers": [1, 1, 1, 1], "stem": "cifar"}

_VIT = {"image_size": 16, "patch_size": 4, "dim": 24, "depth": 2, "heads": 3, "num_classes": 10}
_GQKVA = {"q_index": [0, 0, 0, 1, 1, 1], "kv_index": [0, 1, 2, 0, 1, 2]}

_CLIPS = {"widths": [4, 6], "num_classes": 5, "frames": 4}
_R3D = {"width": 4, "num_classes": 5, "frames": 8, "stem": "cifar"}
_BERT = {"vocab": 2, "positions": 9, "dim": 24, "heads": 3, "hidden": 40, "num_classes": 4}
_TAUGHT = {"inputs": 8, "classes": 5}
_LAYERS = {"layers": 2, "dims": [6, 6], "width": 4}
_GPT2 = {"vocab": 30, "positions": 12, "dim": 24, "depth": 2, "heads": 3}
# expansion or none, residual or not, strides, kernels
_MBCONVS = [[8, 8, 3, 1, 1], [8, 12, 5, 2, 3], [12, 12, 3, 1, 2]]

_MERGED_BIASES = ("*.conv1.bias", "*.conv3.bias")

CASES: tuple[Case, ...] = (
    Case(
        "resnet18, CIFAR stem",
        "resnet",
        Inputs((4, 3, 16, 16)),
        (Twin("resnet:plain_resnet", "torchvision", {**_BASIC, "stem": "cifar"}),),
        {**_BASIC, "stem": "cifar"},
    ),
    Case(
        "bottleneck resnet, ImageNet stem",
        "resnet",
        Inputs((4, 3, 64, 64)),
        (
            Twin("resnet:plain_resnet", "torchvision", _BOTTLENECK),
            Twin("resnet:hf_resnet", "hf", _BOTTLENECK),
        ),
        _BOTTLENECK,
    ),
    *(
        Case(
            f"ResNet-9, {form}",
            "resnet9",
            Inputs((4, 3, 32, 32)),
            (Twin("resnet9:plain_resnet9", "torchvision", {"width": 4, "form": form}),),
            {"width": 4, "form": form},
        )
        for form in ("baseline", "competition")
    ),
    Case(
        "low-rank resnet18, CIFAR stem",
        "lowrank_resnet",
        # of 4 images one value lies so near a ReLU's corner that rounding alone decides its side
        Inputs((5, 3, 16, 16)),
        (Twin("lowrank:resnet", "torchvision", {**_BASIC, "stem": "cifar"}),),
        {**_BASIC, "stem": "cifar", "ratio": 2.0},
        reference="lowrank:factors",
    ),
    Case(
        "ViT, class token",
        "vit",
        Inputs((3, 3, 16, 16)),
        (Twin("vit:plain_vit", "timm", _VIT), Twin("vit:hf_vit", "hf", _VIT)),
        _VIT,
        smooth=True,
        zero=("*.attention.key.bias",),
    ),
    Case(
        "ViT, mean pooling",
        "vit",
        Inputs((3, 3, 16, 16)),
        (Twin("vit:plain_vit", "timm", {**_VIT, "pool": "mean"}),),
        {**_VIT, "pool": "mean"},
        smooth=True,
    ),
    *(
        Case(
            f"ViT, {name}",
            "vit",
            Inputs((3, 3, 16, 16)),
            (Twin("vit:plain_vit", "timm", {**_VIT, "heads": 6, **index}),),
            {**_VIT, "heads": 6, "grouped": grouped},
            smooth=True,
        )
        for name, grouped, index in (
            ("GKVA-3", ("gkva", 3), {"q_index": [0, 0, 1, 1, 2, 2]}),
            ("GQA-2", ("gqa", 2), {"kv_index": [0, 0, 0, 1, 1, 1]}),
            ("GQKVA-2.3", ("gqkva", (2, 3)), _GQKVA),
        )
    ),
    *(
        Case(
            f"BERT, {name}",
            "bert",
            # ids, mask with holes, and types
            Inputs((4, 3, 9), high=2),
            (Twin("bert:hf_bert", "hf", {**_BERT, "pool": pool, "depth": depth}),),
            {**_BERT, "pool": pool, "depth": depth},
            smooth=True,
            zero=("*.self.key.bias",),
        )
        for name, pool, depth in (("pooler", "token", 2), ("mean pooling", "mean", 1))
    ),
    *(
        Case(
            f"distillation, {name}",
            "taught",
            Inputs((6, 8)),
            (Twin("distillation:taught", "torch", {**_TAUGHT, "term": term, "value": value}),),
            {**_TAUGHT, "term": term, "value": value},
            smooth=True,
        )
        for name, term, value in (
            ("KL at temperature 2", "divergence", 2.0),
            ("annealed logits", "squared error", 0.3),
            ("MATE's disagreement", "disagreement", 1.0),
        )
    ),
    *(
        Case(
            f"RAIL, {form}",
            "distance_of_layers",
            Inputs((5, 4, 6)),
            (Twin("distillation:layers", "torch", {**_LAYERS, "form": form}),),
            {**_LAYERS, "form": form},
            smooth=True,
        )
        for form in ("layerwise", "concatenated")
    ),
    Case(
        "GPT-2",
        "gpt2",
        Inputs((3, 11), high=30),
        (Twin("gpt2:hf_gpt2", "hf", _GPT2),),
        _GPT2,
        smooth=True,
        quick=("graph",),
    ),
    Case(
        "GPT-2, truncated",
        "truncated_gpt2",
        Inputs((3, 11), high=30),
        (Twin("gpt2:truncated_hf_gpt2", "hf", {**_GPT2, "depth": 4}),),
        {**_GPT2, "depth": 4, "keep": 2},
        smooth=True,
        quick=("pynative",),
    ),
    Case(
        "GPT-2, classifier",
        "gpt2_classifier",
        # ids, mask with holes, and types
        Inputs((4, 3, 9), high=2),
        (Twin("gpt2:hf_gpt2_classifier", "hf", {**_GPT2, "num_classes": 4}),),
        {**_GPT2, "num_classes": 4},
        smooth=True,
        quick=("pynative",),
    ),
    Case(
        "low-rank dense",
        "lowrank_dense",
        Inputs((6, 24)),
        (Twin("lowrank:dense", "torch", {"C": 24, "S": 40}),),
        {"C": 24, "S": 40, "rank": 7},
        smooth=True,
        dtypes=("float32", "float16"),
        reference="lowrank:factors",
    ),
    Case(
        "low-rank 1x1 conv, stride 2",
        "lowrank_conv",
        Inputs((2, 12, 6, 6)),
        (Twin("lowrank:conv", "torch", {"C": 12, "S": 20, "kernel_size": 1, "stride": 2}),),
        {"C": 12, "S": 20, "kernel": 1, "stride": 2, "rank": 5},
        smooth=True,
        reference="lowrank:factors",
    ),
    Case(
        "Tucker conv, stride 2",
        "lowrank_conv",
        Inputs((2, 10, 8, 8)),
        (
            Twin(
                "lowrank:conv",
                "torch",
                {"C": 10, "S": 14, "kernel_size": 3, "stride": 2, "padding": 1},
            ),
        ),
        {"C": 10, "S": 14, "kernel": 3, "stride": 2, "padding": 1, "rank": [4, 6]},
        smooth=True,
        reference="lowrank:factors",
    ),
    Case(
        "Tucker conv, dilation 2",
        "lowrank_conv",
        Inputs((2, 10, 8, 8)),
        (
            Twin(
                "lowrank:conv",
                "torch",
                {"C": 10, "S": 14, "kernel_size": 3, "dilation": 2, "padding": 2},
            ),
        ),
        {"C": 10, "S": 14, "kernel": 3, "dilation": 2, "padding": 2, "rank": [4, 6]},
        smooth=True,
        reference="lowrank:factors",
    ),
    Case(
        "Tucker conv, 2 branches",
        "lowrank_conv",
        Inputs((2, 10, 8, 8)),
        (
            Twin(
                "lowrank:conv",
                "torch",
                {"C": 10, "S": 14, "kernel_size": 3, "padding": 1, "branches": 2},
            ),
        ),
        {"C": 10, "S": 14, "kernel": 3, "padding": 1, "rank": [4, 6], "branches": 2},
        smooth=True,
        reference="lowrank:factors",
    ),
    Case(
        "merged bottleneck resnet",
        "merged_resnet",
        Inputs((4, 3, 16, 16)),
        (Twin("merged:resnet", "torchvision", _SHALLOW),),
        {**_SHALLOW, "share": 0.5},
        reference="merged:kernels",
        zero=_MERGED_BIASES,
    ),
    Case(
        "merged bottleneck resnet, 2 branches",
        "merged_resnet",
        Inputs((4, 3, 16, 16)),
        (Twin("merged:resnet", "torchvision", {**_SHALLOW, "branches": 2}),),
        {**_SHALLOW, "share": 0.5, "branches": 2},
        reference="merged:kernels",
        zero=_MERGED_BIASES,
    ),
    Case(
        "merged bottleneck resnet, no biases",
        "merged_resnet",
        Inputs((4, 3, 16, 16)),
        (Twin("merged:resnet", "torchvision", {**_SHALLOW, "bias": False}),),
        {**_SHALLOW, "share": 0.5, "bias": False},
        reference="merged:kernels",
    ),
    Case(
        "resnet18, norms folded",
        "folded_resnet",
        Inputs((4, 3, 16, 16)),
        (Twin("resnet:folded_resnet", "torchvision", {**_BASIC, "stem": "cifar"}),),
        {**_BASIC, "stem": "cifar"},
    ),
    Case(
        "low-rank ViT",
        "lowrank_vit",
        Inputs((3, 3, 16, 16)),
        (Twin("lowrank:vit", "timm", _VIT),),
        {**_VIT, "ratio": 1.5},
        smooth=True,
        reference="lowrank:factors",
    ),
    Case(
        "low-rank dense, criterion activation",
        "weighted_dense",
        Inputs((6, 24)),
        (Twin("lowrank:dense", "torch", {"C": 24, "S": 40}),),
        {"C": 24, "S": 40, "rank": 7, "samples": 200},
        smooth=True,
        reference="lowrank:weighted_factors",
    ),
    *(
        Case(
            f"Tucker conv, {name} factors rest",
            "frozen_conv",
            Inputs((2, 10, 8, 8)),
            (
                Twin(
                    "lowrank:frozen_conv",
                    "torch",
                    {"C": 10, "S": 14, "kernel_size": 3, "padding": 1, "frozen": frozen},
                ),
            ),
            {"C": 10, "S": 14, "kernel": 3, "padding": 1, "rank": [4, 6], "frozen": frozen},
            smooth=True,
        )
        for name, frozen in (("outer", ["first", "last"]), ("inner", ["core"]))
    ),
    Case(
        "EfficientNet-Lite blocks",
        "mbconvs",
        Inputs((3, 8, 9, 9)),
        (Twin("efficientnet:mbconvs", "efficientnet_pytorch", {"blocks": _MBCONVS}),),
        {"blocks": _MBCONVS},
        # no shortcut takes it past the normalisation that follows
        zero=("_blocks.0._bn2.bias",),
    ),
    Case(
        "low-rank embedding",
        "lowrank_embedding",
        Inputs((3, 7), high=50),
        (Twin("lowrank:embedding", "torch", {"V": 50, "d": 16}),),
        {"V": 50, "d": 16, "rank": 6},
        smooth=True,
        reference="lowrank:table_factors",
    ),
    *(
        Case(
            f"ECO-Lite, {variant}{', aligned' if aligned else ''}",
            "eco_lite",
            Inputs((3, 4, 3, 8, 8)),
            (Twin("clips:eco_lite", "torch", {**_CLIPS, "variant": variant, "aligned": aligned}),),
            {**_CLIPS, "variant": variant, "aligned": aligned},
            quick=quick,
        )
        for variant, aligned, quick in (
            ("conv3d", False, ()),
            ("add", False, ("graph",)),
            ("add", True, ("pynative",)),
            ("cat", False, ("pynative",)),
            ("r2plus1d", False, ("pynative",)),
            ("p3d_b", False, ("pynative",)),
            ("p3d_c", False, ()),
            ("rank1", False, ()),
            ("tsm", False, ("pynative",)),
        )
    ),
    Case(
        "R3D-18",
        "r3d18",
        Inputs((6, 8, 3, 8, 8)),
        (Twin("clips:r3d18", "torchvision", _R3D),),
        _R3D,
        quick=("pynative",),
    ),
)
