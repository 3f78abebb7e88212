"""Layers in factors, whole networks of them, and merged blocks."""

from __future__ import annotations

from cross_check.case import Case, Inputs, Twin
from cross_check.tables.vision import BASIC, VIT

__all__ = ["LOWRANK"]

_SHALLOW = {
    "block": "bottleneck",
    "layers": [1, 1, 1, 1],
    "width": 8,
    "num_classes": 10,
    "stem": "cifar",
}
_MERGED_BIASES = ("*.conv1.bias", "*.conv3.bias")

LOWRANK: tuple[Case, ...] = (
    Case(
        "low-rank dense",
        "lowrank:dense",
        Inputs((6, 24)),
        (Twin("lowrank:dense", "torch", {"C": 24, "S": 40}),),
        {"C": 24, "S": 40, "rank": 7},
        smooth=True,
        dtypes=("float32", "float16"),
        reference="lowrank:factors",
    ),
    Case(
        "low-rank 1x1 conv, stride 2",
        "lowrank:conv",
        Inputs((2, 12, 6, 6)),
        (Twin("lowrank:conv", "torch", {"C": 12, "S": 20, "kernel_size": 1, "stride": 2}),),
        {"C": 12, "S": 20, "kernel": 1, "stride": 2, "rank": 5},
        smooth=True,
        reference="lowrank:factors",
    ),
    Case(
        "Tucker conv, stride 2",
        "lowrank:conv",
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
        "lowrank:conv",
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
        "lowrank:conv",
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
        "low-rank resnet18, CIFAR stem",
        "lowrank:resnet",
        # of 4 images one value lies so near a ReLU's corner that rounding alone decides its side
        Inputs((5, 3, 16, 16)),
        (Twin("lowrank:resnet", "torchvision", {**BASIC, "stem": "cifar"}),),
        {**BASIC, "stem": "cifar", "ratio": 2.0},
        reference="lowrank:factors",
        quick=("graph",),
        rate=0.001,
    ),
    Case(
        "low-rank ViT",
        "lowrank:vit",
        Inputs((3, 3, 16, 16)),
        (Twin("lowrank:vit", "timm", VIT),),
        {**VIT, "ratio": 1.5},
        smooth=True,
        reference="lowrank:factors",
        quick=("graph",),
    ),
    Case(
        "low-rank dense, criterion activation",
        "lowrank:weighted_dense",
        Inputs((6, 24)),
        (Twin("lowrank:dense", "torch", {"C": 24, "S": 40}),),
        {"C": 24, "S": 40, "rank": 7, "samples": 200},
        smooth=True,
        reference="lowrank:weighted_factors",
    ),
    *(
        Case(
            f"Tucker conv, {name} factors rest",
            "lowrank:frozen_conv",
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
        "low-rank embedding",
        "lowrank:embedding",
        Inputs((3, 7), high=50),
        (Twin("lowrank:embedding", "torch", {"V": 50, "d": 16}),),
        {"V": 50, "d": 16, "rank": 6},
        smooth=True,
        reference="lowrank:table_factors",
    ),
    Case(
        "merged bottleneck resnet",
        "lowrank:merged_resnet",
        Inputs((4, 3, 16, 16)),
        (Twin("merged:resnet", "torchvision", _SHALLOW),),
        {**_SHALLOW, "share": 0.5},
        reference="merged:kernels",
        zero=_MERGED_BIASES,
        rate=0.001,
    ),
    Case(
        "merged bottleneck resnet, 2 branches",
        "lowrank:merged_resnet",
        Inputs((6, 3, 16, 16)),
        (Twin("merged:resnet", "torchvision", {**_SHALLOW, "branches": 2}),),
        {**_SHALLOW, "share": 0.5, "branches": 2},
        reference="merged:kernels",
        zero=_MERGED_BIASES,
        quick=("graph",),
        rate=0.001,
    ),
    Case(
        "merged bottleneck resnet, no biases",
        "lowrank:merged_resnet",
        Inputs((4, 3, 16, 16)),
        (Twin("merged:resnet", "torchvision", {**_SHALLOW, "bias": False}),),
        {**_SHALLOW, "share": 0.5, "bias": False},
        reference="merged:kernels",
        quick=("graph",),
        rate=0.001,
    ),
)
