"""A network whose weights come from files: no zeros before them, and one array at a time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

import numpy as np
from mindspore import Tensor, nn

from ms_eff.errors import CheckpointError, nearest

__all__ = ["Arrays", "fill", "unfilled"]


class Arrays(Protocol):
    """A model's arrays by name, read or made one by one."""

    def array(self, name: str) -> np.ndarray:
        """Return one array."""

    def names(self) -> list[str]:
        """Return the names of all."""


@contextmanager
def unfilled() -> Iterator[None]:
    """Give parameters that are built here no memory, until `fill` brings their values.

    Those that an initialiser would fill; weights that a network draws itself are drawn.
    """
    try:
        from mindspore.nn.utils import no_init_parameters
    except ImportError:  # announced for versions behind 2.9: zeros, and more memory
        yield
        return
    with no_init_parameters():
        yield


def fill(network: nn.Cell, source: Arrays, where: object) -> nn.Cell:
    """Put a source's arrays into a network, each as it is read; what is not asked for stays there.

    Args:
        network: changed in place.
        source: of arrays under the network's names.
        where: they are from, for errors.

    Raises:
        CheckpointError: the first name that is missing, or array of another shape.
    """
    names = set(source.names())
    for parameter in network.get_parameters():
        name = parameter.name
        if name not in names:
            raise CheckpointError(
                f"{where}: of another model: '{name}' is missing{nearest(name, names)}"
            )
        array = source.array(name)
        if array.shape != tuple(parameter.shape):
            raise CheckpointError(
                f"{where}: of another model: '{name}' is {array.shape}, the network has "
                f"{tuple(parameter.shape)}; check model and plan"
            )
        parameter.set_data(Tensor(array, parameter.dtype))
    return network
