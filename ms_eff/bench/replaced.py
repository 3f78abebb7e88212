"""Forward time of single layers, before and after a method replaced them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from mindspore import nn

from ms_eff.bench.counts import count
from ms_eff.bench.latency import compare_models

__all__ = ["layer_latencies"]


def layer_latencies(
    before: nn.Cell,
    after: nn.Cell,
    names: Sequence[str],
    input_shape: Sequence[int],
    *,
    warmup: int = 3,
    runs: int = 20,
) -> dict[str, tuple[float, float]]:
    """Time each named layer of two networks on inputs of the shape it sees there, in turns.

    Layers alike in settings, weights' shapes and input are measured once. Layers that take no
    (B, ...) float input of their own, such as embeddings, are left out, and so are those whose
    replacement takes another form of it (`input_rank`), such as clips of folded frames.

    Args:
        before: the network as it was.
        after: the network with cells of the same names in their place.
        names: which layers.
        input_shape: of the networks' input, batch axis first.
        warmup: rounds thrown away.
        runs: rounds that count.

    Returns:
        By name: median milliseconds before and after.
    """
    shapes = {row.name: row.input_shape for row in count(before, input_shape)}
    old, new = (dict(network.cells_and_names()) for network in (before, after))
    measured: dict[Any, tuple[float, float]] = {}
    found = {}
    for name in names:
        shape = shapes.get(name)
        if shape is None or isinstance(old[name], nn.Embedding):
            continue
        if getattr(new[name], "input_rank", len(shape)) != len(shape):
            continue
        key = (_settings(old[name]), _settings(new[name]), shape)
        if key not in measured:
            pair = {"before": old[name], "after": new[name]}
            full = (input_shape[0], *shape[1:])
            taken = compare_models(pair, full, "forward", warmup, runs)
            times = (taken.summary("before").median_ms, taken.summary("after").median_ms)
            measured[key] = times
        found[name] = measured[key]
    return found


def _settings(cell: nn.Cell) -> str:
    # MindSpore prints a cell with all of its settings, but initialisers with their addresses
    shapes = [tuple(parameter.shape) for parameter in cell.get_parameters()]
    return re.sub(r"\w+_init=[^,)]*", "", f"{cell} {shapes}")
