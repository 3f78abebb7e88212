"""Borrow a network for a look, and give it back as it was."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import mindspore as ms
from mindspore import Tensor, nn

__all__ = ["execution_mode", "inference", "same_weights_after", "training"]


@contextmanager
def inference(cell: nn.Cell) -> Iterator[nn.Cell]:
    """Put a network into inference mode; afterwards every one of its cells is as before."""
    with _in_mode(cell, training=False):
        yield cell


@contextmanager
def training(cell: nn.Cell) -> Iterator[nn.Cell]:
    """Put a network into training mode; afterwards every one of its cells is as before."""
    with _in_mode(cell, training=True):
        yield cell


@contextmanager
def execution_mode(mode: int) -> Iterator[None]:
    """Run in `ms.GRAPH_MODE` or `ms.PYNATIVE_MODE`, then return to the mode found."""
    before = ms.get_context("mode")
    ms.set_context(mode=mode)
    try:
        yield
    finally:
        ms.set_context(mode=before)


@contextmanager
def same_weights_after(cell: nn.Cell) -> Iterator[nn.Cell]:
    """Keep a copy of all parameters, running statistics too, and put them back at the end."""
    copies = [(parameter, parameter.asnumpy().copy()) for parameter in cell.get_parameters()]
    try:
        yield cell
    finally:
        for parameter, values in copies:
            parameter.set_data(Tensor(values, parameter.dtype))


@contextmanager
def _in_mode(cell: nn.Cell, *, training: bool) -> Iterator[None]:
    # `set_train` sets the whole tree alike, so a network whose parts differ (a frozen backbone in
    # inference mode, say) cannot be restored by calling it again
    flags = [(part, part.training) for _, part in cell.cells_and_names()]
    phase = cell.phase
    cell.set_train(training)
    try:
        yield
    finally:
        for part, before in flags:
            part.add_flags(training=before)
        cell.phase = phase
