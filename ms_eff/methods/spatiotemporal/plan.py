"""What was put in the place of which convolution. JSON to and fro; imports no MindSpore."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from ms_eff.errors import PlanError
from ms_eff.methods.spatiotemporal.core import VARIANTS

__all__ = ["FORMAT", "ConvReport", "SpatiotemporalPlan"]

FORMAT = "ms_eff.spatiotemporal/1"


@dataclass(frozen=True)
class SpatiotemporalPlan:
    """One variant for all 3D convolutions of a network.

    Attributes:
        variant: see `ms_eff.methods.spatiotemporal.core.VARIANTS`.
        aligned: see `SpatiotemporalSettings`.
        layers: names of the convolutions.
        input_shape: of one clip, with a batch axis of 1, that shows what arrives where; None if
            nobody said.
    """

    variant: str
    aligned: bool
    layers: tuple[str, ...]
    input_shape: tuple[int, ...] | None = None

    def to_json(self) -> dict[str, Any]:
        """Return JSON-able values."""
        return {"format": FORMAT, **asdict(self)}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> SpatiotemporalPlan:
        """Return the plan that `to_json` wrote.

        Raises:
            PlanError: it is none.
        """
        if values.get("format") != FORMAT:
            raise PlanError(f"plan: format = {values.get('format')!r}: expected '{FORMAT}'")
        try:
            shape = values["input_shape"]
            plan = cls(
                values["variant"],
                values["aligned"],
                tuple(values["layers"]),
                None if shape is None else tuple(shape),
            )
        except (KeyError, TypeError) as error:
            raise PlanError(f"plan: variant, aligned and layers are expected ({error})") from error
        if plan.variant not in VARIANTS:
            raise PlanError(f"plan: variant = {plan.variant!r}: known: {', '.join(VARIANTS)}")
        return plan


@dataclass(frozen=True)
class ConvReport:
    """What became of one 3D convolution.

    Attributes:
        layer: its name.
        kind: the variant, or `spatial` or `temporal` where its kernel reaches along one of them.
        shape: of its weight.
        norm: name of the batch normalisation that went with it, or None.
        decomposed: whether it was replaced.
        params_before: weights, bias and the norm's scale and shift.
        params_after: likewise.
        weights: `kept`: all of the kernel, so the same function (in `cat`, unless a ReLU stands
            before the next layer); `least squares`: the nearest; `new`: drawn.
        error: of the kernel, relative, in the Frobenius norm; None where it was drawn anew.
    """

    layer: str
    kind: str
    shape: tuple[int, ...]
    norm: str | None
    decomposed: bool
    params_before: int
    params_after: int
    weights: str
    error: float | None
