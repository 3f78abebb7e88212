"""One run through a network that computes no 3D convolution: which clips arrive at which one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import mindspore as ms
import numpy as np
from mindspore import Tensor, nn

from ms_eff.bench.modes import execution_mode, inference
from ms_eff.errors import ConfigError, first_line
from ms_eff.methods.spatiotemporal.core import ConvShape

__all__ = ["Seen", "trace"]


@dataclass
class Seen:
    """What arrived, by the cells' identity.

    Attributes:
        frames: T of the input of each 3D convolution.
        maps: (height, width) likewise.
        channels: of the input of each 3D convolution and dense layer.
    """

    frames: dict[int, int] = field(default_factory=dict)
    maps: dict[int, tuple[int, int]] = field(default_factory=dict)
    channels: dict[int, int] = field(default_factory=dict)


def trace(
    network: nn.Cell,
    shapes: Mapping[int, ConvShape],
    input_shape: Sequence[int],
    widened: int = 1,
) -> Seen:
    """Run zeros through a network whose 3D convolutions only give the shape of their output.

    Args:
        network: left as it is.
        shapes: its 3D convolutions, by identity.
        input_shape: of its input, batch axis first.
        widened: how many times as many channels each convolution gives: 2 for `cat`.

    Raises:
        ConfigError: the network does not take such an input, or another layer than convolutions,
            their normalisations and dense layers minds the number of channels.
    """
    seen = Seen()
    stubs: dict[int, Callable[..., Any]] = {}
    for _, cell in network.cells_and_names():
        if id(cell) in shapes:
            stubs[id(cell)] = _convolution(id(cell), shapes[id(cell)], widened, seen)
        elif isinstance(cell, nn.BatchNorm3d):
            stubs[id(cell)] = _same
        elif isinstance(cell, nn.Dense):
            stubs[id(cell)] = _dense(id(cell), cell.out_channels, seen)
    with inference(network), execution_mode(ms.PYNATIVE_MODE), _stubbed(network, stubs):
        try:
            network(Tensor(np.zeros(tuple(input_shape), np.float32)))
        except (RuntimeError, TypeError, ValueError) as error:
            raise ConfigError(
                f"input_shape: {type(network).__name__} does not take {tuple(input_shape)}"
                f"{' with wider layers' if widened > 1 else ''} ({first_line(error)}); give the "
                "shape of its input, batch axis first, or use variant=add"
            ) from error
    return seen


def _convolution(key: int, shape: ConvShape, widened: int, seen: Seen) -> Callable[..., Any]:
    def construct(x: Tensor) -> Tensor:
        seen.channels[key] = x.shape[1]
        seen.frames[key] = x.shape[2]
        seen.maps[key] = tuple(x.shape[3:])
        size = shape.output(x.shape[2:])
        return Tensor(np.zeros((x.shape[0], widened * shape.out_channels, *size), np.float32))

    return construct


def _dense(key: int, outputs: int, seen: Seen) -> Callable[..., Any]:
    def construct(x: Tensor) -> Tensor:
        seen.channels[key] = x.shape[-1]
        return Tensor(np.zeros((*x.shape[:-1], outputs), np.float32))

    return construct


def _same(x: Tensor) -> Tensor:
    return x


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
