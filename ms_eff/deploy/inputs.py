"""What an exported network takes: names, shapes, types, and arrays to try it on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import mindspore as ms
import numpy as np
from mindspore import Tensor, nn

from ms_eff.deploy.operators import ExportError

__all__ = ["Arrays", "InputSpec", "batches_of", "specs"]

Arrays = tuple[np.ndarray, ...]


@dataclass(frozen=True)
class InputSpec:
    """One input of a network.

    Attributes:
        shape: batch axis first.
        name: what the exported graph calls it (ONNX; MindIR knows its inputs by position).
        dtype: a NumPy type name; integers are token ids.
        high: integers to try it on lie below this (a vocabulary's size).
    """

    shape: tuple[int, ...]
    name: str = "input"
    dtype: str = "float32"
    high: int = 2

    @classmethod
    def of(cls, cell: nn.Cell, shape: Sequence[int]) -> InputSpec:
        """Return the one input of a network: token ids where its `input_dtype` says so."""
        dtype = getattr(cell, "input_dtype", ms.float32)
        return cls(tuple(shape), dtype=str(dtype).lower())

    def random(self, rng: np.random.Generator, batch: int) -> np.ndarray:
        """Return (batch, ...) normal deviates, or integers below `high`."""
        shape = (batch, *self.shape[1:])
        if np.issubdtype(np.dtype(self.dtype), np.integer):
            return rng.integers(0, self.high, shape).astype(self.dtype)
        return rng.standard_normal(shape).astype(self.dtype)

    def example(self, dynamic_batch: bool) -> Tensor:
        """Return the tensor an exporter traces; a dynamic batch axis has no size."""
        dtype = ms.Tensor(np.empty(0, self.dtype)).dtype
        if dynamic_batch:
            return Tensor(shape=(None, *self.shape[1:]), dtype=dtype)
        return Tensor(np.zeros(self.shape, self.dtype))

    def to_dict(self) -> dict[str, Any]:
        """Return name, shape and type as JSON takes them."""
        fields = asdict(self)
        del fields["high"]
        return {**fields, "shape": list(self.shape)}


def specs(input_shape: Sequence[int] | Sequence[InputSpec]) -> tuple[InputSpec, ...]:
    """Return a network's inputs; a bare shape means one float32 input.

    Raises:
        ExportError: there is no input, or an axis has no length.

    >>> specs((1, 3, 32, 32))[0].name
    'input'
    """
    found = [entry for entry in input_shape if isinstance(entry, InputSpec)]
    if not found:
        axes = [axis for axis in input_shape if not isinstance(axis, InputSpec)]
        found = [InputSpec(tuple(int(axis) for axis in axes))]
    for spec in found:
        if not spec.shape or min(spec.shape) < 1:
            raise ExportError(
                f"input_shape: expected positive lengths, batch axis first, got {spec.shape}; "
                "for a free batch axis give any batch and dynamic_batch=True"
            )
    return tuple(found)


def batches_of(
    arrays: np.ndarray | Sequence[np.ndarray], inputs: Sequence[InputSpec]
) -> list[Arrays]:
    """Cut real inputs, (N, ...) each, into batches of the exported size.

    The last batch is filled up from the front, since a fixed graph takes no smaller one.

    Raises:
        ExportError: number, shape or length of the arrays is not the network's.
    """
    given = (arrays,) if isinstance(arrays, np.ndarray) else tuple(arrays)
    expected = [spec.shape[1:] for spec in inputs]
    if [array.shape[1:] for array in given] != expected or len({len(a) for a in given}) != 1:
        raise ExportError(
            f"real_inputs: expected arrays (N, ...) of {expected}, "
            f"got shapes {[array.shape for array in given]}"
        )
    batch, count = inputs[0].shape[0], len(given[0])
    picks = np.resize(np.arange(count), -(-count // batch) * batch).reshape(-1, batch)
    return [
        tuple(array[pick].astype(spec.dtype) for array, spec in zip(given, inputs, strict=True))
        for pick in picks
    ]
