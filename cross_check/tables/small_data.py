"""Training with few data, and with fewer samples of them."""

from __future__ import annotations

from cross_check.case import Case, Inputs, Twin

__all__ = ["SMALL_DATA"]

_RESNET9 = {"width": 4, "form": "competition"}
_WEIGHTED = {"inputs": 6, "outputs": 5, "weights": [0.0, 0.5, 1.0, 2.5]}

SMALL_DATA: tuple[Case, ...] = (
    Case(
        "ResNet-9, ghost batch norm",
        "small_data:ghost_resnet9",
        Inputs((6, 3, 32, 32)),
        (Twin("resnet9:ghost_resnet9", "torch", {**_RESNET9, "splits": 2}),),
        {**_RESNET9, "splits": 2},
        quick=("graph",),
    ),
    Case(
        "ResNet-9, patch whitening",
        "small_data:whitened_resnet9",
        Inputs((4, 3, 32, 32)),
        (Twin("resnet9:whitened_resnet9", "torch", {**_RESNET9, "filters": [8, 3, 2, 2]}),),
        {**_RESNET9, "filters": [8, 3, 2, 2]},
        quick=("graph",),
    ),
    Case(
        "images shrunk by area",
        "small_data:shrunk",
        Inputs((3, 3, 10, 15)),
        (Twin("samples:shrunk", "torch", {"channels": 4, "side": 5}),),
        {"channels": 4, "side": 5},
        smooth=True,
        quick=("graph",),
    ),
    Case(
        "samples that count differently",
        "small_data:weighted",
        Inputs((4, 6)),
        (Twin("samples:weighted", "torch", _WEIGHTED),),
        _WEIGHTED,
        smooth=True,
        quick=("graph",),
    ),
)
