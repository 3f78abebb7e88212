"""The arrays that a resumed training needs besides the weights, of all that have some."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import mindspore as ms
import numpy as np
from mindspore import Tensor

from ms_eff.methods.base import Method

__all__ = ["Stateful", "restore", "state_of"]


class Stateful(Protocol):
    """What has arrays of its own: the optimiser, the average, the loss scale."""

    def arrays(self) -> dict[str, np.ndarray]:
        """Return them by name."""

    def load(self, arrays: dict[str, np.ndarray]) -> None:
        """Take them back out of all arrays."""


def state_of(
    parts: Sequence[Stateful | None], methods: Sequence[Method] = ()
) -> dict[str, np.ndarray]:
    """Return all arrays by name, those of the methods and of MindSpore's generator with them."""
    arrays: dict[str, np.ndarray] = {}
    for part in parts:
        arrays |= part.arrays() if part is not None else {}
    for method in methods:
        arrays |= {f"method.{method.name}.{k}": v for k, v in method.state().items()}
    return arrays | {"random": ms.get_rng_state().asnumpy()}


def restore(
    arrays: Mapping[str, np.ndarray],
    parts: Sequence[Stateful | None],
    methods: Sequence[Method] = (),
) -> None:
    """Give back what `state_of` returned."""
    for part in parts:
        if part is not None:
            part.load(dict(arrays))
    for method in methods:
        prefix = f"method.{method.name}."
        own = {k.removeprefix(prefix): v for k, v in arrays.items() if k.startswith(prefix)}
        method.load_state(own)
    ms.set_rng_state(Tensor(arrays["random"]))
