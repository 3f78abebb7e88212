"""Which normalisation takes the output of a 3D convolution, and is all that does.

Only such a one may go with the convolution, and be made anew behind the 2D ones. How cells are
declared does not say it: a network may call them in another order.
"""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from itertools import pairwise

import numpy as np
from mindspore import nn

from ms_eff.errors import ConfigError, PlanError
from ms_eff.methods.spatiotemporal.core import ConvShape
from ms_eff.methods.spatiotemporal.tracing import Seen, trace

__all__ = ["in_sequences", "norms_behind"]

Named = tuple[str, nn.Cell]
Pairs = dict[int, int]  # identity of a convolution to that of its normalisation


def norms_behind(
    network: nn.Cell,
    shapes: Mapping[int, ConvShape],
    input_shape: Sequence[int] | None,
    strict: bool,
) -> tuple[dict[int, Named], Seen]:
    """Return the (name, cell) of each convolution's normalisation, and what a run has shown.

    Args:
        network: left as it is.
        shapes: its 3D convolutions, by identity.
        input_shape: of its input, batch axis first; None: nothing is run.
        strict: whether there must be no other normalisation.

    Raises:
        ConfigError: no input shape, and it takes a run to tell; or the network refuses it.
        PlanError: there is another one.
    """
    norms = _norms(network)
    found, seen = in_sequences(network, shapes), Seen()
    if input_shape is not None and (norms or strict):
        pairs, seen = _takers(network, shapes, input_shape)
        found = {conv: norms[norm] for conv, norm in pairs.items()}
    taken = {name for name, _ in found.values()}
    for name in (name for name, _ in norms.values() if name not in taken):
        if input_shape is None:
            raise ConfigError(
                f"input_shape: what arrives at '{name}' shows in a run through the network only; "
                "give the shape of its input, batch axis first"
            )
        if strict:
            raise PlanError(
                f"layer '{name}': this BatchNorm3d does not stand behind its convolution; give it "
                "the output of a single one, and let nothing else take that"
            )
    return found, seen


def in_sequences(network: nn.Cell, shapes: Mapping[int, ConvShape]) -> dict[int, Named]:
    """Find those that need no run: next to each other in a sequence, which calls what it holds.

    Args:
        network: left as it is.
        shapes: its 3D convolutions, by identity.
    """
    found, named = [], _norms(network)
    for _, cell in network.cells_and_names():
        if isinstance(cell, nn.SequentialCell):
            found += [
                (id(one), id(other))
                for one, other in pairwise(cell.cell_list)
                if id(one) in shapes and isinstance(other, nn.BatchNorm3d)
            ]
    convs, norms = [conv for conv, _ in found], [norm for _, norm in found]
    return {c: named[n] for c, n in found if convs.count(c) == norms.count(n) == 1}


def _norms(network: nn.Cell) -> dict[int, Named]:
    cells = network.cells_and_names()
    return {id(cell): (name, cell) for name, cell in cells if isinstance(cell, nn.BatchNorm3d)}


def _takers(
    network: nn.Cell, shapes: Mapping[int, ConvShape], input_shape: Sequence[int]
) -> tuple[Pairs, Seen]:
    """Find them by running the network; return the first run too.

    A normalisation counts if it is given nothing but outputs of one convolution, as they are. That
    nothing else takes these shows in a second run: the convolution gives other values, and what
    arrives elsewhere stays the same.
    """
    seen = trace(network, shapes, input_shape)
    given = {norm: set(sources) for norm, sources in seen.sources.items()}
    owners = [source for sources in given.values() for source in sources]
    pairs: Pairs = {}
    for norm, sources in given.items():
        conv, *more = sources
        if conv is not None and not more and owners.count(conv) == 1:
            pairs[conv] = norm

    def alone(some: Pairs) -> bool:
        moved = trace(network, shapes, input_shape, moved=some)
        return _alike(seen, moved, set(some.values()))

    if pairs and not alone(pairs):
        pairs = {conv: norm for conv, norm in pairs.items() if alone({conv: norm})}
    return pairs, seen


def _alike(one: Seen, other: Seen, but: Container[int]) -> bool:
    """Tell whether the same arrived in two runs, at all cells but some."""
    if [key for key, _ in one.arrived] != [key for key, _ in other.arrived]:
        return False
    return all(
        key in but or np.allclose(before, after, atol=1e-6, equal_nan=True)
        for (key, before), (_, after) in zip(one.arrived, other.arrived, strict=True)
    )
