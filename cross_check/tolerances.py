"""The one table of tolerances, by the dtype that the MindSpore side computed in.

A difference is the largest deviation of an array, divided by the largest value of the reference
array (see `compare.py`), so that one number serves outputs, gradients and updates alike.
The torch side always computes in float32.
"""

from __future__ import annotations

__all__ = ["FACTORS", "TOLERANCES"]

TOLERANCES: dict[str, float] = {
    # unit roundoff 6e-8; sums of up to a few thousand products in another order, some twenty
    # layers deep, and batch statistics over few values, which magnify rounding in gradients
    "float32": 1e-4,
    # unit roundoff 5e-4 in every product, through the same depth
    "float16": 3e-2,
    # unit roundoff 4e-3: eight times float16's
    "bfloat16": 2.4e-1,
}

# float64 decompositions stored as float32, against torch's own decomposition in float64
FACTORS = 1e-5
