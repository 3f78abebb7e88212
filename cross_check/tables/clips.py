"""Networks for clips."""

from __future__ import annotations

from cross_check.case import Case, Inputs, Twin

__all__ = ["CLIPS"]

_CLIPS = {"widths": [4, 6], "num_classes": 5, "frames": 4}
_R3D = {"width": 4, "num_classes": 5, "frames": 8, "stem": "cifar"}
_FIVE_AXES = {"variant": "r2plus1d", "channels": [3, 4, 5]}

CLIPS: tuple[Case, ...] = (
    *(
        Case(
            f"ECO-Lite, {variant}{', aligned' if aligned else ''}",
            "clips:eco_lite",
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
        "clips:r3d18",
        Inputs((6, 8, 3, 8, 8)),
        (Twin("clips:r3d18", "torchvision", _R3D),),
        _R3D,
        quick=("pynative",),
    ),
    *(
        Case(
            f"R3D-18, {variant}",
            "clips:r3d18",
            Inputs((8, 8, 3, 8, 8)),
            (Twin("clips:r3d18", "torch", {**_R3D, "variant": variant}),),
            {**_R3D, "variant": variant},
            quick=quick,
            rate=0.003,
        )
        for variant, quick in (("add", ()), ("p3d_a", ("graph",)), ("spatial", ("pynative",)))
    ),
    Case(
        "ECO-Lite, Inception front",
        "clips:inception_eco_lite",
        Inputs((3, 4, 3, 43, 43)),
        (Twin("clips:inception_eco_lite", "torch", _CLIPS),),
        _CLIPS,
        quick=("graph",),
        rate=1e-5,
    ),
    Case(
        "3D convolutions in five axes, r2plus1d",
        "clips:in_five_axes",
        Inputs((3, 3, 4, 6, 6)),
        (Twin("clips:in_five_axes", "torch", _FIVE_AXES),),
        _FIVE_AXES,
        quick=("graph",),
    ),
)
