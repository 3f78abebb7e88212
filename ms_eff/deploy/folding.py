"""Batch normalisations folded into the layers before them: fewer operators, the same function.

For inference only. Deployment tools do this themselves; doing it here lets a network be timed and
exported as it will run.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import mindspore as ms
import numpy as np
from mindspore import Parameter, Tensor, nn, ops
from mindspore.nn.layer.normalization import _BatchNorm

from ms_eff.bench.modes import execution_mode, inference
from ms_eff.deploy import verify
from ms_eff.errors import ConfigError, VerificationError
from ms_eff.methods.replace import replaced

__all__ = ["fold_norms", "norms_left"]

# the norm's name, the layer before it, the norm
Pair = tuple[str, nn.Cell, nn.Cell]

_TOLERANCE = 1e-4  # of the folded network's outputs, relative to the largest


def fold_norms(
    network: nn.Cell, input_shape: Sequence[int], dtype: Any = ms.float32
) -> tuple[nn.Cell, list[str]]:
    """Return a copy for inference whose batch normalisations are part of the layers before them.

    `gamma (W x + b - mean) / sqrt(var + eps) + beta` is again a layer with a weight and a bias. A
    normalisation is folded where its input is just what a convolution or dense layer gave, found
    by one forward, and where nobody else takes that output: what would change the outputs is found
    by halving, and stays (`norms_left` names it).

    Args:
        network: stays as it is.
        input_shape: of its input, batch axis first.
        dtype: of that input.

    Returns:
        The new network and the names of the normalisations that are gone.

    Raises:
        ConfigError: no normalisation can be folded; names one that would change the outputs.
        VerificationError: the folded network's outputs differ by more than 1e-4 of the largest.

    >>> net = nn.SequentialCell(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU())
    >>> fold_norms(net, (1, 3, 8, 8))[1]
    ['1']
    """
    inputs = np.random.default_rng(0).standard_normal(tuple(input_shape), dtype=np.float32)
    batch = Tensor(inputs, dtype)
    found = _pairs(network, batch)
    if not found:
        raise ConfigError("fold_norms: no batch normalisation follows a convolution or dense layer")
    result = _with_folded(network, found)
    gap = _gap(network, result, batch)
    pairs = found
    if not gap.within(_TOLERANCE):
        with execution_mode(ms.PYNATIVE_MODE):  # no graph is compiled for each try
            pairs = _harmless(network, found, batch)
        if not pairs:
            raise ConfigError(
                f"fold_norms: none of {len(found)} normalisations can be folded: the output of the "
                f"layer before '{found[0][0]}' is used besides its normalisation"
            )
        result = _with_folded(network, pairs)
        gap = _gap(network, result, batch)
    if not gap.within(_TOLERANCE):
        raise VerificationError(
            f"fold_norms: outputs differ by {gap.max_abs:.2g}, though no single norm is at fault"
        )
    return result.set_train(False), [name for name, _, _ in pairs]


def norms_left(network: nn.Cell) -> list[str]:
    """Return the names of the batch normalisations of a network.

    >>> norms_left(nn.SequentialCell(nn.Dense(3, 4), nn.BatchNorm1d(4)))
    ['1']
    """
    return [name for name, cell in network.cells_and_names() if isinstance(cell, _BatchNorm)]


def _with_folded(network: nn.Cell, pairs: Sequence[Pair]) -> nn.Cell:
    swaps: list[tuple[nn.Cell, nn.Cell]] = []
    for _, layer, norm in pairs:
        swaps += [(layer, _folded(layer, norm)), (norm, nn.Identity())]
    return replaced(network, swaps)


def _gap(network: nn.Cell, result: nn.Cell, batch: Tensor) -> verify.Difference:
    arrays = [(batch.asnumpy(),)]
    return verify.difference(verify.live(network), verify.live(result), arrays)


def _harmless(network: nn.Cell, pairs: Sequence[Pair], batch: Tensor) -> list[Pair]:
    """Return the pairs that leave the outputs as they are: halves are tried, then their halves."""
    if _gap(network, _with_folded(network, pairs), batch).within(_TOLERANCE):
        return list(pairs)
    if len(pairs) == 1:
        return []
    half = len(pairs) // 2
    return _harmless(network, pairs[:half], batch) + _harmless(network, pairs[half:], batch)


def _pairs(network: nn.Cell, inputs: Tensor) -> list[Pair]:
    """Return (the norm's name, layer, norm) where the layer's output is the norm's input."""
    made: dict[int, nn.Cell] = {}
    alive: list[Any] = []  # an id is only taken by one object as long as that lives
    found: dict[int, nn.Cell] = {}
    calls: dict[int, int] = {}

    def note_output(cell: nn.Cell, _: Any, output: Tensor) -> None:
        made[id(output)] = cell
        alive.append(output)
        calls[id(cell)] = calls.get(id(cell), 0) + 1

    def note_input(cell: nn.Cell, given: tuple[Tensor, ...]) -> None:
        calls[id(cell)] = calls.get(id(cell), 0) + 1
        if id(given[0]) in made:
            found[id(cell)] = made[id(given[0])]

    hooks = []
    for _, cell in network.cells_and_names():
        if isinstance(cell, (nn.Conv2d, nn.Dense)) and getattr(cell, "activation", None) is None:
            hooks.append(cell.register_forward_hook(note_output))
        elif isinstance(cell, _BatchNorm):
            hooks.append(cell.register_forward_pre_hook(note_input))
    try:
        with inference(network), execution_mode(ms.PYNATIVE_MODE):
            network(inputs)
    finally:
        for hook in hooks:
            hook.remove()
    return [
        (name, found[id(cell)], cell)
        for name, cell in network.cells_and_names()
        if id(cell) in found and calls[id(cell)] == calls[id(found[id(cell)])] == 1
    ]


def _folded(layer: nn.Cell, norm: nn.Cell) -> nn.Cell:
    gamma, beta, mean, variance = (
        p.asnumpy().astype(np.float64)
        for p in (norm.gamma, norm.beta, norm.moving_mean, norm.moving_variance)
    )
    scale = gamma / np.sqrt(variance + norm.eps)
    weight = layer.weight.asnumpy().astype(np.float64)
    bias = layer.bias.asnumpy().astype(np.float64) if layer.has_bias else np.zeros_like(mean)
    new = copy.deepcopy(layer)
    scaled = weight * scale.reshape(-1, *[1] * (weight.ndim - 1))
    new.weight.set_data(Tensor(scaled.astype(np.float32), layer.weight.dtype))
    shifted = Tensor((beta + scale * (bias - mean)).astype(np.float32), layer.weight.dtype)
    if layer.has_bias:
        new.bias.set_data(shifted)
        return new
    new.has_bias = True
    if isinstance(new, nn.Dense):  # it has none without a bias, a convolution always does
        new.bias_add = ops.BiasAdd()
    new.bias = Parameter(shifted, layer.weight.name.removesuffix("weight") + "bias")
    return new
