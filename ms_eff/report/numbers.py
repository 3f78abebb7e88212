"""Numbers as people read them; a missing one is a dash, never a zero."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from typing import Any

__all__ = [
    "MISSING",
    "brief",
    "decimal",
    "deviation",
    "dimensions",
    "exact",
    "mean",
    "percent",
    "short",
    "span",
]

MISSING = "–"  # noqa: RUF001  (an en dash is meant)


def exact(count: int | None) -> str:
    """Return a count with its thousands set apart.

    >>> exact(25557032)
    '25,557,032'
    """
    return MISSING if count is None else f"{count:,}"


def short(count: int | None) -> str:
    """Return a count with four digits and a unit.

    >>> short(4089184256), short(702378), short(12)
    ('4.089 G', '702.4 k', '12')
    """
    if count is None:
        return MISSING
    for unit, size in (("T", 1e12), ("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if count >= size:
            return f"{decimal(count / size)} {unit}"
    return str(count)


def percent(fraction: float | None, digits: int = 1) -> str:
    """Return a fraction as a percentage.

    >>> percent(0.9861)
    '98.6 %'
    """
    return MISSING if fraction is None else f"{100 * fraction:.{digits}f} %"


def decimal(value: float | None) -> str:
    """Return four significant digits, small and large values by exponent.

    >>> decimal(0.123456), decimal(1.5), decimal(3.1e-7), decimal(0.0)
    ('0.1235', '1.5', '3.1e-07', '0')
    """
    return MISSING if value is None else f"{value:.4g}"


def brief(value: float) -> str:
    """Return about three significant digits, trailing zeros kept.

    >>> brief(0.1234), brief(15.0), brief(1299.6)
    ('0.123', '15.0', '1300')
    """
    digits = 0 if value >= 100 else 1 if value >= 10 else 2 if value >= 1 else 3
    return f"{value:.{digits}f}"


def dimensions(value: Any) -> str:
    """Return a shape, or several ranks, with crosses between the lengths.

    >>> dimensions([64, 32, 3, 3]), dimensions(16)
    ('64x32x3x3', '16')
    """
    if isinstance(value, Sequence) and not isinstance(value, str):
        return "x".join(str(length) for length in value)
    return MISSING if value is None else str(value)


def span(values: Sequence[int], form: Callable[[int], str] = str) -> str:
    """Return the smallest and the largest value, or the one there is.

    >>> span([3, 5, 4]), span([7, 7])
    ('3 to 5', '7')
    """
    low, high = min(values), max(values)
    return form(low) if low == high else f"{form(low)} to {form(high)}"


def mean(values: Sequence[float], digits: int, sign: str = "") -> str:
    """Return the mean and, of several values, their standard deviation.

    >>> mean([1.0, 2.0], 1, sign="+"), mean([3.0], 0)
    ('+1.5 ± 0.7', '3')
    """
    if not values:
        return MISSING
    middle = f"{statistics.fmean(values):{sign}.{digits}f}"
    return middle if len(values) == 1 else f"{middle} ± {deviation(values):.{digits}f}"


def deviation(values: Sequence[float]) -> float:
    """Return the standard deviation, 0 of a single value."""
    return statistics.stdev(values) if len(values) > 1 else 0.0
