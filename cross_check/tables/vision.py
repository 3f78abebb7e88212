"""Networks for images."""

from __future__ import annotations

from cross_check.case import Case, Inputs, Twin

__all__ = ["BASIC", "VISION", "VIT"]

BASIC = {"block": "basic", "layers": [2, 2, 2, 2], "width": 8, "num_classes": 10}
_BOTTLENECK = {"block": "bottleneck", "layers": [1, 2, 1, 1], "width": 8, "num_classes": 10}
VIT = {"image_size": 16, "patch_size": 4, "dim": 24, "depth": 2, "heads": 3, "num_classes": 10}
_GQKVA = {"q_index": [0, 0, 0, 1, 1, 1], "kv_index": [0, 1, 2, 0, 1, 2]}
# expansion or none, residual or not, strides, kernels
_MBCONVS = [[8, 8, 3, 1, 1], [8, 12, 5, 2, 3], [12, 12, 3, 1, 2]]
# one block before the split, two reduced ones, one after the merge
_SKIPVIT = {**VIT, "depth": 4}
_ROUTE = {"drop": 0.55, "score_block": 0, "merge_block": 3}
_SHARED = {"dim": 24, "heads": 6}
_PORTABLE = {"inputs": 8, "outputs": 12, "alpha": 0.3}
_RESTING = {"num_classes": 7, "resting": True}

VISION: tuple[Case, ...] = (
    Case(
        "resnet18, CIFAR stem",
        "vision:resnet",
        Inputs((4, 3, 16, 16)),
        (Twin("resnet:plain_resnet", "torchvision", {**BASIC, "stem": "cifar"}),),
        {**BASIC, "stem": "cifar"},
        rate=0.003,
    ),
    Case(
        "bottleneck resnet, ImageNet stem",
        "vision:resnet",
        Inputs((4, 3, 64, 64)),
        (
            Twin("resnet:plain_resnet", "torchvision", _BOTTLENECK),
            Twin("resnet:hf_resnet", "hf", _BOTTLENECK),
        ),
        _BOTTLENECK,
        rate=0.001,
        quick=("graph",),
    ),
    *(
        Case(
            f"ResNet-9, {form}",
            "vision:resnet9",
            Inputs((4, 3, 32, 32)),
            (Twin("resnet9:plain_resnet9", "torchvision", {"width": 4, "form": form}),),
            {"width": 4, "form": form},
        )
        for form in ("baseline", "competition")
    ),
    Case(
        "ViT, class token",
        "vision:vit",
        Inputs((3, 3, 16, 16)),
        (Twin("vit:plain_vit", "timm", VIT), Twin("vit:hf_vit", "hf", VIT)),
        VIT,
        smooth=True,
        zero=("*.attention.key.bias",),
    ),
    Case(
        "ViT, mean pooling",
        "vision:vit",
        Inputs((3, 3, 16, 16)),
        (Twin("vit:plain_vit", "timm", {**VIT, "pool": "mean"}),),
        {**VIT, "pool": "mean"},
        smooth=True,
        quick=("graph",),
    ),
    *(
        Case(
            f"ViT, {name}",
            "vision:vit",
            Inputs((3, 3, 16, 16)),
            (Twin("vit:plain_vit", "timm", {**VIT, "heads": 6, **index}),),
            {**VIT, "heads": 6, "grouped": grouped},
            smooth=True,
            quick=("graph",),
        )
        for name, grouped, index in (
            ("GKVA-3", ("gkva", 3), {"q_index": [0, 0, 1, 1, 2, 2]}),
            ("GQA-2", ("gqa", 2), {"kv_index": [0, 0, 0, 1, 1, 1]}),
            ("GQKVA-2.3", ("gqkva", (2, 3)), _GQKVA),
        )
    ),
    Case(
        "resnet18, norms folded",
        "vision:folded_resnet",
        Inputs((4, 3, 16, 16)),
        (Twin("resnet:folded_resnet", "torchvision", {**BASIC, "stem": "cifar"}),),
        {**BASIC, "stem": "cifar"},
        quick=("graph",),
    ),
    Case(
        "EfficientNet-Lite blocks",
        "vision:mbconvs",
        Inputs((3, 8, 9, 9)),
        (Twin("efficientnet:mbconvs", "efficientnet_pytorch", {"blocks": _MBCONVS}),),
        {"blocks": _MBCONVS},
        # no shortcut takes it past the normalisation that follows
        zero=("_blocks.0._bn2.bias",),
    ),
    Case(
        "EfficientNet-Lite0",
        "vision:efficientnet",
        Inputs((6, 3, 64, 64)),
        (Twin("efficientnet:lite0", "efficientnet_pytorch", {"num_classes": 7}),),
        {"num_classes": 7},
        # fifty normalisations in series over few values: see test_rounding.py
        outputs_only=True,
        quick=(),
        rate=1e-4,
    ),
    Case(
        "EfficientNet-Lite0, statistics at rest",
        "vision:efficientnet",
        Inputs((3, 3, 32, 32)),
        (Twin("efficientnet:lite0", "efficientnet_pytorch", _RESTING),),
        _RESTING,
        quick=(),
        rate=0.001,
    ),
    Case(
        "SkipViT, scored by attention",
        "vision:skipvit",
        Inputs((3, 3, 16, 16)),
        (Twin("skipvit:attentive", "torch", _SKIPVIT),),
        {**_SKIPVIT, "settings": _ROUTE},
        smooth=True,
        quick=("graph",),
    ),
    Case(
        "SkipViT, random in training",
        "vision:skipvit",
        Inputs((3, 3, 16, 16)),
        (Twin("skipvit:random", "torch", {**_SKIPVIT, "seed": 5}),),
        {**_SKIPVIT, "settings": {**_ROUTE, "score": "random"}, "seed": 5},
        smooth=True,
        quick=("graph",),
    ),
    Case(
        "attention, GQKVA-2.3, repeated",
        "vision:repeating_attention",
        Inputs((3, 5, 24)),
        (Twin("vit:attention", "torch", {**_SHARED, **_GQKVA}),),
        {**_SHARED, "kind": "gqkva", "groups": (2, 3)},
        smooth=True,
        quick=("graph",),
    ),
    Case(
        "CELU and GELU, portable",
        "vision:portable",
        Inputs((5, 8)),
        (Twin("vit:activations", "torch", _PORTABLE),),
        _PORTABLE,
        smooth=True,
        quick=("graph",),
    ),
    Case(
        "batch norm over all workers, one of them",
        "vision:synchronised_norm",
        Inputs((4, 3, 5, 5)),
        (Twin("resnet:convolved_norm", "torch", {"channels": 6}),),
        {"channels": 6},
        smooth=True,
        quick=("graph",),
    ),
)
