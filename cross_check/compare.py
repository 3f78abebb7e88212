"""The measure of difference, and the table of results."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatch

import numpy as np

from cross_check.bundle import BundleError, Record

__all__ = ["Row", "compare", "table"]

# an array of small values is measured against a thousandth of the quantity's largest value
_FLOOR = 1e-3
# float32 rounds to half of this, relative to the value
_EPSILON = 2.0**-23
# the quantities in which a gradient that is zero shows
_DERIVED = ("gradients of weights", "update of weights")


@dataclass(frozen=True)
class Row:
    """One line of the table; `worst` names the array of the largest difference."""

    case: str
    twin: str
    dtype: str
    mode: str
    quantity: str
    difference: float
    tolerance: float | None
    worst: str

    @property
    def passed(self) -> bool:
        """Tell whether the difference is within the tolerance, if there is one."""
        return self.tolerance is None or self.difference <= self.tolerance


def compare(
    record: Record,
    quantity: str,
    found: Mapping[str, np.ndarray],
    expected: Mapping[str, np.ndarray],
    tolerance: float | None,
) -> Row:
    """Return the largest of max|found - expected| / max|expected| over the arrays.

    An update is the difference of two stored weights, each rounded to float32: what is left of it
    below two units in the weight's last place does not count.

    Weights whose gradient the record names as zero in exact arithmetic: the gradients of both sides
    are compared with 0, and all in units of the quantity's largest value.

    Raises:
        BundleError: the two sides do not hold the same arrays.
    """
    if found.keys() != expected.keys():
        odd = sorted(found.keys() ^ expected.keys())
        raise BundleError(f"{record.case}: {quantity}: on one side only: {', '.join(odd[:3])}")
    largest = max((float(np.abs(a).max()) for a in expected.values()), default=0.0)
    weights = record.group("weights") if quantity == _DERIVED[1] else {}
    differences = {}
    for name, reference in expected.items():
        if found[name].shape != reference.shape:
            shapes = f"{found[name].shape} and {reference.shape}"
            raise BundleError(f"{record.case}: {quantity} {name}: shapes {shapes}")
        if quantity in _DERIVED and any(fnmatch(name, pattern) for pattern in record.zero):
            # the gradient's truth is known and is 0: each side is held to it. What is left of the
            # update is weight decay, and the rounding of a gradient that cancelled
            scale = largest or 1.0
            gap = found[name] - reference
            wrong = (found[name], reference) if quantity == _DERIVED[0] else (gap,)
            difference = max(float(np.abs(a).max()) for a in wrong) / scale
        else:
            scale = max(float(np.abs(reference).max()), _FLOOR * largest) or 1.0
            gap = np.abs(found[name] - reference) - 2 * _EPSILON * np.abs(weights.get(name, 0.0))
            difference = max(float(gap.max()), 0.0) / scale
        differences[name] = difference if math.isfinite(difference) else math.inf
    worst = max(differences, key=differences.__getitem__)
    return Row(
        record.case,
        record.twin,
        record.dtype,
        record.mode,
        quantity,
        differences[worst],
        tolerance,
        worst,
    )


def table(rows: list[Row]) -> str:
    """Return the rows as aligned text."""
    head = ("case", "twin", "dtype", "mode", "quantity", "max difference", "tolerance", "")
    lines = [head]
    lines += [
        (
            row.case,
            row.twin.split(":")[1],
            row.dtype,
            row.mode,
            row.quantity,
            f"{row.difference:.1e}",
            "none" if row.tolerance is None else f"{row.tolerance:.0e}",
            "" if row.passed else f"FAILED {row.worst}".strip(),
        )
        for row in rows
    ]
    widths = [max(len(line[i]) for line in lines) for i in range(len(head))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )
