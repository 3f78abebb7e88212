"""How long a layer would take on an accelerator: a model, not a measurement.

For a plan without a board. Every factor is a matrix product of (M, K) by (K, N) on a cube unit that
works in tiles of 16 x 16 x 16, so M, K and N are rounded up to 16 and channels are stored padded to
16; it takes the larger of its arithmetic and its memory traffic, plus a fixed cost a launch. Cache,
fusion and the scheduler are left out, so trust the order of two ranks, not the milliseconds.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

__all__ = ["MACHINES", "LayerCalls", "LayerWork", "Machine", "Objective", "modelled_ms"]

Shape = tuple[int, ...]
Objective = Literal["infer", "train"]


@dataclass(frozen=True)
class LayerWork:
    """All that the latency of one call of a layer depends on, apart from the device.

    Attributes:
        kind: `dense`, `conv1x1`, `conv` or `embedding`.
        shape: of its weight: (S, C), (S, C, kh, kw), or (V, d) of an embedding.
        input: shape of its input, batch axis first.
        output: shape of its output.
        geometry: stride, padding, dilation, bias, activation in words; the model needs none of it.
        dtype: what it computes in; the model takes float16 for all.
    """

    kind: str
    shape: Shape
    input: Shape
    output: Shape
    geometry: str = ""
    dtype: str = "float32"

    def __str__(self) -> str:
        sizes = ("x".join(map(str, shape)) for shape in (self.shape, self.input))
        words = [f"{self.kind} {' on '.join(sizes)}", self.dtype, self.geometry]
        return ", ".join(word for word in words if word)


@dataclass(frozen=True)
class LayerCalls:
    """What a layer does in one run of the network.

    Attributes:
        mix: its distinct works, each with the share of the calls that are such; the mean call of
            two layers takes equally long if these are equal.
        calls: how many there are.
    """

    mix: tuple[tuple[LayerWork, Fraction], ...]
    calls: int

    @classmethod
    def of(cls, works: Sequence[LayerWork]) -> LayerCalls:
        """Return the summary of the calls of a layer, in their order."""
        return cls(
            tuple((work, Fraction(works.count(work), len(works))) for work in dict.fromkeys(works)),
            len(works),
        )


@dataclass(frozen=True)
class Machine:
    """The few figures of an accelerator that the model knows.

    Attributes:
        macs_per_s: peak multiply-accumulates in float16.
        bytes_per_s: peak memory bandwidth.
        launch_s: fixed cost of starting an operator; an assumption of ours, vendors print none.
        align: edge of the cube unit's tile.
        value_bytes: bytes of one number.
    """

    macs_per_s: float
    bytes_per_s: float
    launch_s: float = 5e-6
    align: int = 16
    value_bytes: int = 2


# nominal peaks of the vendor; two operations a multiply-accumulate
MACHINES = {
    "ascend910": Machine(macs_per_s=128e12, bytes_per_s=1.2e12),
    "ascend310": Machine(macs_per_s=4e12, bytes_per_s=51.2e9),
}


def modelled_ms(
    work: LayerWork,
    rank: int | None = None,
    objective: Objective = "infer",
    machine: Machine = MACHINES["ascend910"],
) -> float:
    """Return the modelled time of a layer in milliseconds, whole or decomposed at `rank`.

    Training is the forward and two products of the same size, for the gradients of the inputs and
    of the weights. A Tucker triple has the rank in both channel modes.

    >>> work = LayerWork("conv", (512, 512, 3, 3), (32, 512, 14, 14), (32, 512, 14, 14))
    >>> modelled_ms(work, 257) > modelled_ms(work, 256) == modelled_ms(work, 250)
    True
    """
    return 1e3 * sum(_product_s(product, objective, machine) for product in _products(work, rank))


@dataclass(frozen=True)
class _Product:
    """(M, K) by (K, N), K = taps x C; `inner` pixels come in, and a lookup multiplies nothing."""

    M: int
    C: int
    N: int
    taps: int = 1
    inner: int = 0
    lookup: bool = False


def _products(work: LayerWork, rank: int | None) -> Iterator[_Product]:
    S, C = work.shape[:2]
    inner, outer = _positions(work)
    if work.kind == "embedding":
        yield _Product(outer, 1, C if rank is None else rank, inner=outer, lookup=True)
        if rank is not None:
            yield _Product(outer, rank, C, inner=outer)
    elif rank is None:
        yield _Product(outer, C, S, math.prod(work.shape[2:]), inner)
    elif work.kind == "conv":
        yield _Product(inner, C, rank, 1, inner)
        yield _Product(outer, rank, rank, math.prod(work.shape[2:]), inner)
        yield _Product(outer, rank, S, 1, outer)
    else:  # a strided 1x1 strides in its first factor
        yield _Product(outer, C, rank, 1, inner)
        yield _Product(outer, rank, S, 1, outer)


def _positions(work: LayerWork) -> tuple[int, int]:
    """Return how many pixels or tokens of the whole batch come in and go out."""
    if work.kind.startswith("conv"):
        return (
            work.input[0] * math.prod(work.input[2:]),
            work.output[0] * math.prod(work.output[2:]),
        )
    if work.kind == "embedding":
        return math.prod(work.input), math.prod(work.input)
    return math.prod(work.input[:-1]), math.prod(work.output[:-1])


def _product_s(product: _Product, objective: Objective, machine: Machine) -> float:
    def up(size: int) -> int:
        return -(-size // machine.align) * machine.align

    inputs, outputs = product.inner * up(product.C), product.M * up(product.N)
    weights = product.taps * up(product.C) * up(product.N)
    macs = 0 if product.lookup else up(product.M) * weights
    if product.lookup:  # rows that are asked for, in place of the whole table
        inputs, weights = product.M, outputs
    # forward reads inputs and weights and writes outputs; each gradient reads two and writes one
    moved = (inputs + weights + outputs) * machine.value_bytes
    once = max(macs / machine.macs_per_s, moved / machine.bytes_per_s) + machine.launch_s
    passes = 1 if objective == "infer" else 2 if product.lookup else 3
    return passes * once
