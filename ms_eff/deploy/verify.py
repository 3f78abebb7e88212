"""Exported files against the live network: load again, run, compare."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mindspore as ms
import numpy as np
from mindspore import Tensor, nn

from ms_eff.bench.modes import inference
from ms_eff.deploy.inputs import Arrays
from ms_eff.errors import SetupError, VerificationError, first_line

__all__ = ["Difference", "difference", "live", "load"]

Predict = Callable[[Arrays], Arrays]


@dataclass(frozen=True)
class Difference:
    """How far an exported model strays from the live one.

    Attributes:
        max_abs: the largest absolute difference of any output.
        scale: the largest absolute output of the live model, at least 1.
        samples: how many inputs were compared.
    """

    max_abs: float = 0.0
    scale: float = 1.0
    samples: int = 0

    def within(self, tolerance: float) -> bool:
        """Tell whether the difference is at most `tolerance * scale`."""
        return self.max_abs <= tolerance * self.scale

    def __add__(self, other: Difference) -> Difference:
        return Difference(
            max(self.max_abs, other.max_abs),
            max(self.scale, other.scale),
            self.samples + other.samples,
        )


def live(cell: nn.Cell) -> Predict:
    """Return the network itself, in inference mode, on arrays."""

    def predict(arrays: Arrays) -> Arrays:
        with inference(cell):
            return _arrays(cell(*(Tensor(array) for array in arrays)))

    return predict


def load(path: Path) -> Predict:
    """Return an exported file's model on arrays: MindIR in a GraphCell, ONNX in onnxruntime.

    Raises:
        SetupError: onnxruntime is not installed.
        VerificationError: the file cannot be loaded.
    """
    try:
        return _load_onnx(path) if path.suffix == ".onnx" else _load_mindir(path)
    except SetupError:
        raise
    except Exception as error:  # each runtime raises its own
        raise VerificationError(
            f"{path.name}: cannot be loaded again ({first_line(error)})"
        ) from error


def difference(expected: Predict, found: Predict, batches: Iterable[Arrays]) -> Difference:
    """Compare two models on batches of inputs.

    Raises:
        VerificationError: outputs are not finite, or differ in number or shape.
    """
    total = Difference()
    for batch in batches:
        wanted, got = expected(batch), found(batch)
        shapes = [array.shape for array in wanted]
        if shapes != [array.shape for array in got]:
            raise VerificationError(
                f"outputs: the live model gives {shapes}, "
                f"the exported one {[array.shape for array in got]}"
            )
        for one, other in zip(wanted, got, strict=True):
            total += _apart(one, other)
        total += Difference(samples=len(batch[0]))
    return total


def _apart(wanted: np.ndarray, got: np.ndarray) -> Difference:
    if not np.isfinite(wanted).all():
        raise VerificationError(
            "outputs: the live model gives NaN or infinity; was it trained, and on such inputs?"
        )
    if not np.isfinite(got).all():
        raise VerificationError("outputs: the exported model gives NaN or infinity")
    if wanted.size == 0:
        return Difference()
    gap = np.abs(wanted.astype(np.float64) - got.astype(np.float64)).max()
    return Difference(float(gap), max(1.0, float(np.abs(wanted).max())))


def _load_mindir(path: Path) -> Predict:
    graph = nn.GraphCell(ms.load(str(path)))
    return lambda arrays: _arrays(graph(*(Tensor(array) for array in arrays)))


def _load_onnx(path: Path) -> Predict:
    try:
        import onnxruntime
    except ImportError as error:
        raise SetupError(
            "onnxruntime: an ONNX export is verified with it, and it is not installed; "
            "`pip install onnxruntime`, or export to MindIR"
        ) from error
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    names = [entry.name for entry in session.get_inputs()]
    return lambda arrays: tuple(session.run(None, dict(zip(names, arrays, strict=True))))


def _arrays(outputs: Any) -> Arrays:
    if isinstance(outputs, (tuple, list)):
        return tuple(array for part in outputs for array in _arrays(part))
    return (outputs.asnumpy(),)
