"""MindSpore's two modes, as both kinds of records are made in them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import mindspore as ms

from ms_eff.bench.modes import execution_mode
from ms_eff.runtime import close_gradients

__all__ = ["in_mode"]


@contextmanager
def in_mode(mode: str) -> Iterator[None]:
    """Run in `graph` or `pynative` mode for a while."""
    # as in `ms_eff.runtime.setup`: the update is unrolled over the weights
    ms.set_recursion_limit(10_000)
    with execution_mode(ms.GRAPH_MODE if mode == "graph" else ms.PYNATIVE_MODE):
        close_gradients()
        yield
