"""What a user may ask of 4D convolutions; imports no MindSpore."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import model_validator

from ms_eff.methods.spatiotemporal.core import ALIGNABLE
from ms_eff.section import Section

__all__ = ["SpatiotemporalSettings", "Variant"]

Variant = Literal[
    "conv3d", "add", "cat", "r2plus1d", "p3d_a", "p3d_b", "p3d_c", "rank1", "tsm", "spatial"
]


class SpatiotemporalSettings(Section):
    """Put 2D convolutions on 4D tensors in the place of 3D ones (arXiv:2407.16514).

    Attributes:
        variant: `add` and `cat` are the paper's, `r2plus1d`, `p3d_a`, `p3d_b`, `p3d_c` and `rank1`
            its rivals, `tsm` shifts channels between frames; `conv3d` leaves the network as it is,
            and `spatial` (ours) looks at each frame for itself, as a control.
        aligned: `add`, `cat`: strided layers read the pixels of the stride's grid, at the same
            cost. The paper's stride over the flattened pixels, the default, reads others.
    """

    variant: Variant = "add"
    aligned: bool = False

    @model_validator(mode="after")
    def _does_something(self) -> Self:
        if self.aligned and self.variant not in ALIGNABLE:
            raise ValueError(
                f"aligned: for {' and '.join(ALIGNABLE)} only; {self.variant} reads the grid as it "
                "is, drop it"
            )
        return self
