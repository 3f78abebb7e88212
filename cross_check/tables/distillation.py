"""Losses and distances of distillation."""

from __future__ import annotations

from cross_check.case import Case, Inputs, Twin

__all__ = ["DISTILLATION"]

_TAUGHT = {"inputs": 8, "classes": 5}
_LAYERS = {"layers": 2, "dims": [6, 6], "width": 4}
# a label of -100 does not count
_SMOOTHED = {"temperature": 2.0, "alpha": 0.2, "labels": [1, 0, -100, 4, 2, 2]}
_GENERATED = {"vocab": 20, "dim": 8, "positions": 7, "share": 0.4, "special": [0], "batch": 4}

DISTILLATION: tuple[Case, ...] = (
    *(
        Case(
            f"distillation, {name}",
            "distillation:taught",
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
            "distillation:layers",
            Inputs((5, 4, 6)),
            (Twin("distillation:layers", "torch", {**_LAYERS, "form": form}),),
            {**_LAYERS, "form": form},
            smooth=True,
        )
        for form in ("layerwise", "concatenated")
    ),
    Case(
        "distillation, loss cells",
        "distillation:loss_cells",
        Inputs((6, 8)),
        (Twin("distillation:loss_cells", "torch", {**_TAUGHT, **_SMOOTHED}),),
        {**_TAUGHT, **_SMOOTHED},
        smooth=True,
        quick=("graph",),
    ),
    Case(
        "MATE's generator",
        "distillation:generated",
        # ids, and what becomes a mask with holes
        Inputs((4, 2, 7), high=20),
        (Twin("mate:generated", "torch", _GENERATED),),
        _GENERATED,
        smooth=True,
        quick=("graph",),
        rate=0.001,
    ),
)
