"""One run through a network that computes no 3D convolution: which clips arrive at which one."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import mindspore as ms
import numpy as np
from mindspore import Tensor, nn
from numpy.typing import NDArray

from ms_eff.bench.modes import execution_mode, inference
from ms_eff.errors import ConfigError, first_line
from ms_eff.methods.spatiotemporal.core import ConvShape

__all__ = ["Seen", "trace"]


@dataclass
class Seen:
    """What arrived, by the cells' identity.

    Attributes:
        frames: T of the input of each 3D convolution.
        uneven: those that are called with clips of several lengths.
        maps: (height, width) likewise.
        channels: of the input of each 3D convolution and dense layer.
        sources: a normalisation's inputs, one a call: the 3D convolution that gave just this
            tensor, or None.
        arrived: (cell, array) of each call in their order; last what the network gave, of cell 0.
    """

    frames: dict[int, int] = field(default_factory=dict)
    uneven: set[int] = field(default_factory=set)
    maps: dict[int, tuple[int, int]] = field(default_factory=dict)
    channels: dict[int, int] = field(default_factory=dict)
    sources: dict[int, list[int | None]] = field(default_factory=dict)
    arrived: list[tuple[int, NDArray[np.floating]]] = field(default_factory=list)


def trace(
    network: nn.Cell,
    shapes: Mapping[int, ConvShape],
    input_shape: Sequence[int],
    widened: int = 1,
    moved: Container[int] = (),
) -> Seen:
    """Run zeros through a network whose 3D convolutions only give the shape of their output.

    Its values are random, whatever arrives, and so are those of normalisations and dense layers:
    the same in each run, so that two runs differ only in what `moved` convolutions reach.

    Args:
        network: left as it is.
        shapes: its 3D convolutions, by identity.
        input_shape: of its input, batch axis first.
        widened: how many times as many channels each convolution gives: 2 for `cat`.
        moved: convolutions, by identity, that give other values than they else do.

    Raises:
        ConfigError: the network does not take such an input, or another layer than convolutions,
            their normalisations and dense layers minds the number of channels.
    """
    run = _Run(shapes, widened, moved)
    stubs: dict[int, Callable[..., Any]] = {}
    for _, cell in network.cells_and_names():
        if id(cell) in shapes:
            stubs[id(cell)] = partial(run.convolution, id(cell))
        elif isinstance(cell, nn.BatchNorm3d):
            stubs[id(cell)] = partial(run.norm, id(cell))
        elif isinstance(cell, nn.Dense):
            stubs[id(cell)] = partial(run.dense, id(cell), cell.out_channels)
    with inference(network), execution_mode(ms.PYNATIVE_MODE), _stubbed(network, stubs):
        try:
            given = network(Tensor(np.zeros(tuple(input_shape), np.float32)))
        except (RuntimeError, TypeError, ValueError) as error:
            raise ConfigError(
                f"input_shape: {type(network).__name__} does not take {tuple(input_shape)}"
                f"{' with wider layers' if widened > 1 else ''} ({first_line(error)}); give the "
                "shape of its input, batch axis first, or use variant=add"
            ) from error
    for tensor in given if isinstance(given, (list, tuple)) else (given,):
        run.note(0, tensor)
    return run.seen


class _Run:
    """What the cells do in one run."""

    def __init__(
        self, shapes: Mapping[int, ConvShape], widened: int, moved: Container[int]
    ) -> None:
        self.seen = Seen()
        self._shapes, self._widened, self._moved = shapes, widened, moved
        # by the tensors' identity; they are kept, since that of one that is gone is given again
        self._given: dict[int, tuple[Tensor, int]] = {}

    def convolution(self, key: int, x: Tensor) -> Tensor:
        self.note(key, x)
        shape = self._shapes[key]
        self.seen.channels[key] = x.shape[1]
        if self.seen.frames.setdefault(key, x.shape[2]) != x.shape[2]:
            self.seen.uneven.add(key)
        self.seen.maps[key] = tuple(x.shape[3:])
        size = shape.output(x.shape[2:])
        y = self._drawn((x.shape[0], self._widened * shape.out_channels, *size), key)
        self._given[id(y)] = (y, key)
        return y

    def norm(self, key: int, x: Tensor) -> Tensor:
        self.note(key, x)
        self.seen.sources.setdefault(key, []).append(self._given.get(id(x), (x, None))[1])
        return self._drawn(x.shape, key)

    def dense(self, key: int, outputs: int, x: Tensor) -> Tensor:
        self.note(key, x)
        self.seen.channels[key] = x.shape[-1]
        return self._drawn((*x.shape[:-1], outputs), key)

    def note(self, key: int, x: Tensor) -> None:
        self.seen.arrived.append((key, x.asnumpy()))

    def _drawn(self, size: tuple[int, ...], key: int) -> Tensor:
        # of both signs, and of no symmetry that a sum could cancel
        rng = np.random.default_rng((len(self.seen.arrived), key in self._moved))
        return Tensor(rng.random(size, np.float32) - np.float32(0.5))


@contextmanager
def _stubbed(network: nn.Cell, stubs: Mapping[int, Callable[..., Any]]) -> Iterator[None]:
    """Let cells compute something else; not by hooks, which would recompile all graphs."""
    cells = [cell for _, cell in network.cells_and_names() if id(cell) in stubs]
    own = [cell.__dict__.get("construct") for cell in cells]
    for cell in cells:
        cell.__dict__["construct"] = stubs[id(cell)]
    try:
        yield
    finally:
        for cell, before in zip(cells, own, strict=True):
            del cell.__dict__["construct"]
            if before is not None:
                cell.__dict__["construct"] = before
