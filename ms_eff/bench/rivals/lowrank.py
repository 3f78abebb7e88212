"""Low-rank factors that one would pick instead: plain SVD of whole kernels, tensorly's Tucker."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from mindspore import nn
from numpy.typing import NDArray

from ms_eff.bench.allocation import smallest_ratio
from ms_eff.errors import SetupError
from ms_eff.methods.lowrank.cells import LowRankCell
from ms_eff.methods.lowrank.core import break_even_rank, rank_for_ratio
from ms_eff.methods.lowrank.criteria import WEIGHT, Criterion
from ms_eff.methods.lowrank.factors import empty_like, fill
from ms_eff.methods.lowrank.layers import Layer, find_layers, network_params, read_weight
from ms_eff.methods.lowrank.rebuilding import swapped

__all__ = ["TensorlyTucker", "svd_network"]

Array = NDArray[np.float64]


class TensorlyTucker(Criterion):
    """The criterion of the weights with tensorly's `partial_tucker` in place of our `tucker2`.

    Ranks and matrices are those of ours: a truncated SVD is the same by whatever library.
    """

    def tucker(self, layer: Layer, weight: Array, rank: tuple[int, int]) -> tuple[Array, ...]:
        """Return `first`, `core` and `last` of a convolution.

        Raises:
            SetupError: tensorly is not installed.
        """
        try:
            from tensorly.decomposition import partial_tucker
        except ImportError as error:
            raise SetupError(
                "tensorly: the comparison with it needs it; `pip install 'ms_eff[dev]'`"
            ) from error
        (core, (last, first)), _ = partial_tucker(weight, rank=[rank[1], rank[0]], modes=[0, 1])
        return first.T[:, :, None, None], core, last[:, :, None, None]


def svd_network(network: nn.Cell, share: float) -> tuple[nn.Cell, int]:
    """Return a copy within a share of the parameters, and how many layers are factors in it.

    Each weight is cut as one matrix, with one ratio for all layers. A (S, C, kh, kw) kernel is the
    matrix (S, C kh kw): a convolution to R channels, then a 1x1 one. Without Tucker, this is what
    an SVD of a convolution is.
    """
    layers = [x for x in find_layers(network) if not x.reason and x.kind != "embedding"]

    def saved(ratio: float) -> int:
        return sum(_saved(layer, _rank(layer, ratio)) for layer in layers)

    ratio = smallest_ratio(saved, network_params(network), share)
    cells = {x.name: _factors(x, rank) for x in layers if (rank := _rank(x, ratio))}
    return swapped(network, layers, cells), len(cells)


def _rank(layer: Layer, ratio: float) -> int:
    """Return a layer's rank, at least 1; 0 where no rank makes it smaller."""
    S, n = _matrix(layer)
    return min(max(rank_for_ratio(n, S, ratio), 1), break_even_rank(n, S))


def _saved(layer: Layer, rank: int) -> int:
    S, n = _matrix(layer)
    return S * n - rank * (S + n) if rank else 0


def _matrix(layer: Layer) -> tuple[int, int]:
    """Return (S, n) of a weight as a matrix."""
    S, *rest = layer.shape
    return S, int(np.prod(rest))


def _factors(layer: Layer, rank: int) -> LowRankCell:
    weight = read_weight(layer)
    first, last = WEIGHT.pair(layer, weight.reshape(len(weight), -1), rank)
    # two convolutions, of which the first has the kernel: those of a 1x1 layer, but for its size
    kind = "conv1x1" if layer.kind == "conv" else layer.kind
    cell = empty_like(replace(layer, kind=kind), (rank,))
    taps = (1,) * (weight.ndim - 2)
    first = first.reshape(rank, *weight.shape[1:])
    fill(cell, {"first": first, "last": last.reshape(*last.shape, *taps)})
    return cell
