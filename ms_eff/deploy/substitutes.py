"""What a network computes otherwise in an exported file, because the exporter lacks an operator."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from mindspore import nn

__all__ = ["substituted"]


@contextmanager
def substituted(cell: nn.Cell, format: str, dynamic_batch: bool) -> Iterator[nn.Cell]:
    """Put a network into the form that an exporter takes; afterwards it is as before.

    Cells with an attribute `portable` have such a form: `ms_eff.models.gelu.NormalCdf` without Erf
    (ONNX), within 2e-7 of the exact one, the gather of `ms_eff.methods.skipvit` (a free batch
    axis), which is slower, and the padding of `ms_eff.methods.spatiotemporal`. What it comes to in
    the outputs is measured at each export, against the network as it is.
    """
    parts = [part for _, part in cell.cells_and_names() if hasattr(part, "portable")]
    before = [part.portable for part in parts]
    for part in parts:
        part.portable = format == "onnx" or dynamic_batch
    try:
        yield cell
    finally:
        for part, value in zip(parts, before, strict=True):
            part.portable = value
