"""The one table of tolerances, by the dtype that the MindSpore side computed in.

A difference is the largest deviation in an array, divided by the largest value of the reference
array (see `compare.py`), so that one number serves outputs, gradients and updates alike.
The torch side always computes in float32. Of a loss curve each step is an array of its own.
"""

from __future__ import annotations

__all__ = ["FACTORS", "recipe_tolerance", "tolerance"]

_TOLERANCES: dict[str, float] = {
    # unit roundoff 6e-8; sums of up to a few thousand products in another order, some twenty
    # layers deep, and batch statistics over few values, which magnify rounding in gradients
    "float32": 1e-4,
    # unit roundoff 5e-4 in every product, through the same depth
    "float16": 1e-2,
    # unit roundoff 4e-3: eight times float16's
    "bfloat16": 8e-2,
}
_CURVE = {
    # the weights of each step carry the rounding of all steps before; where a value of a ReLU
    # network comes that near to zero, one more gradient switches on or off
    "float32": 5e-4,
    "float16": 2e-2,
    "bfloat16": 16e-2,
}

# float64 decompositions stored as float32, against torch's own decomposition in float64
FACTORS = 1e-5

_OUTPUTS = ("forward", "training forward")


def tolerance(dtype: str, quantity: str, smooth: bool, outputs_only: bool = False) -> float | None:
    """Return the bound of a difference, or None where there is none.

    In half precision, rounding puts some values near zero on the other side of a ReLU, and their
    gradients switch on or off: no bound holds for a whole ReLU network of few units. There only
    outputs are bounded; gradients are bounded in the `smooth` cases, layer by layer.
    `outputs_only` says so of a single case.
    """
    if (outputs_only or (dtype != "float32" and not smooth)) and quantity not in _OUTPUTS:
        return None
    return (_CURVE if quantity == "loss curve" else _TOLERANCES)[dtype]


_RECIPES: dict[str, float] = {
    # weights are kept in float32, to 6e-8 where they are about 1, and updates begin at 1e-4; of
    # second order by central differences, whose own error is within this bound too
    "first update of weights": 2e-3,
    # of each step on weights that all steps before have rounded
    "movement of weights": 1e-3,
    "averaged weights": 1e-3,
    "movement of projections": 1e-3,
    "movement of generator": 1e-3,
    "evaluation": 1e-4,
    "loss curve": 1e-4,
    # float32 of a formula
    "learning rates": 1e-6,
    # numbers of samples: the same or not
    "chosen samples": 0.0,
    "number of samples": 0.0,
}


def recipe_tolerance(dtype: str, quantity: str) -> float:
    """Return the bound of a difference between two trainings; the torch side is in float64.

    Half precision multiplies it as it does for cells.
    """
    return _RECIPES.get(quantity, 1e-4) * _TOLERANCES[dtype] / _TOLERANCES["float32"]
