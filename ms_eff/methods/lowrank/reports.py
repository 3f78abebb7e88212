"""What surgery says about each layer; imports no MindSpore."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

__all__ = ["LayerReport"]

Shape = tuple[int, ...]


@dataclass(frozen=True)
class LayerReport:
    """What became of one layer.

    Attributes:
        layer: its name.
        kind: `dense`, `conv1x1`, `conv`, `embedding`, or the cell's class if none of these;
            `bottleneck` for a whole block that was merged.
        shape: of its weight; of a block's k x k convolution.
        rank: (R,) or (r1, r2); None if it stays as it is.
        params_before: weights of the layer; biases are not counted, they stay.
        params_after: weights of its factors.
        macs_before: multiply-accumulates for one sample; None if the input's shape is not known.
        macs_after: those of its factors. Where a strided convolution's input cannot be told from
            its output, the largest is taken.
        error: relative Frobenius error of the composed factors; 0 if it stays.
        decomposed: whether factors stand in for it.
        reason: why it stays; empty if it does not.
        search: what the rank search saw (`RankChoice`); None without one.
        criterion: which error the factors were chosen by.
        criterion_error: the root of the share of that criterion's loss; None where it is `error`,
            or the layer stays.
    """

    layer: str
    kind: str
    shape: Shape
    rank: Shape | None
    params_before: int
    params_after: int
    macs_before: int | None
    macs_after: int | None
    error: float
    decomposed: bool
    reason: str
    search: dict[str, Any] | None = None
    criterion: str = "weight"
    criterion_error: float | None = None

    def to_json(self) -> dict[str, Any]:
        """Return JSON-able values."""
        return asdict(self)
