"""The exponential moving average of a network, which evaluation uses in place of its weights."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from mindspore import Parameter, Tensor, nn

__all__ = ["STATISTICS", "Average"]

# last parts of the names of what normalisations gather
STATISTICS = ("moving_mean", "moving_variance")


class Average:
    """Averages of the trained weights and of the normalisations' running statistics.

    The statistics are averaged with the weights that they belong to: those of the last batches fit
    the last weights only.

    Args:
        model: the network in training.
        decay: per step; None: no average, and everything here does nothing.
        every: steps between two updates, each with `decay ** every`.
    """

    def __init__(self, model: nn.Cell, decay: float | None, every: int = 1) -> None:
        self.decay, self.every = decay or 0.0, every
        self.own: list[Parameter] = []
        if decay is not None:
            self.own = [
                p
                for p in model.get_parameters()
                if p.requires_grad or p.name.rpartition(".")[2] in STATISTICS
            ]
        self.averaged = [
            Parameter(Tensor(p.asnumpy()), f"ema.{p.name}", requires_grad=False) for p in self.own
        ]

    def __bool__(self) -> bool:
        return bool(self.own)

    def take_over(self) -> None:
        """Give the network its averages."""
        for own, averaged in zip(self.own, self.averaged, strict=True):
            own.set_data(Tensor(averaged.asnumpy()))

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Give the network its averages for a while."""
        before = [p.asnumpy().copy() for p in self.own]
        self.take_over()
        try:
            yield
        finally:
            for own, array in zip(self.own, before, strict=True):
                own.set_data(Tensor(array))

    def arrays(self) -> dict[str, np.ndarray]:
        """Return what a resumed run needs."""
        return {p.name: p.asnumpy() for p in self.averaged}

    def load(self, arrays: dict[str, np.ndarray]) -> None:
        """Take back what `arrays` returned."""
        for p in self.averaged:
            p.set_data(Tensor(arrays[p.name]))
