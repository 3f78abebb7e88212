"""Gradient centralization (arXiv:2004.01461), equation 1."""

from __future__ import annotations

from typing import Literal

from mindspore import Parameter, Tensor, nn

from ms_eff.errors import PlanError

__all__ = ["centralize", "centralized_weights"]

# by name, so that mindspore.mint's layers and MindFormers' Linear are known without importing them;
# a ViT's patches are a convolution that is computed as a matrix product
_CONVOLUTIONS = frozenset({"Conv1d", "Conv2d", "Conv3d", "PatchProjection"})
_DENSE = frozenset({"Dense", "Linear"})


def centralize(grad: Tensor) -> Tensor:
    """Return a gradient less its mean over all axes but the first, the output channel's.

    Args:
        grad: (O, ...), of two axes or more.

    >>> import numpy as np
    >>> print(centralize(Tensor(np.array([[1.0, 3.0]], np.float32))))
    [[-1.  1.]]
    """
    return grad - grad.mean(tuple(range(1, grad.ndim)), True)


def centralized_weights(network: nn.Cell, layers: Literal["conv", "all"]) -> frozenset[str]:
    """Return the names of the weights whose gradients are centralised.

    By the kind of their layer, as the paper speaks of them. Its code goes by the number of axes,
    which is the same for convolutional networks; but a ViT's positions and class token have three,
    and their first axis is no output channel. Transposed convolutions are left out for that, too.

    Args:
        network: any.
        layers: `conv`: convolutions; `all`: dense layers as well.

    Raises:
        PlanError: it has no such layer.

    >>> sorted(centralized_weights(nn.SequentialCell(nn.Dense(2, 2), nn.Conv2d(1, 1, 3)), "conv"))
    ['1.weight']
    """
    kinds = _CONVOLUTIONS if layers == "conv" else _CONVOLUTIONS | _DENSE
    names = set()
    for _, cell in network.cells_and_names():
        weight = getattr(cell, "weight", None)
        is_chosen = any(base.__name__ in kinds for base in type(cell).__mro__)
        if is_chosen and isinstance(weight, Parameter):
            names.add(weight.name)
    if not names:
        missing, remedy = "convolution", "use all, or leave the method out"
        if layers == "all":
            missing, remedy = "convolution or dense layer", "leave the method out"
        raise PlanError(
            f"methods.gradient_centralization.layers = {layers}: {type(network).__name__} has no "
            f"{missing}; {remedy}"
        )
    return frozenset(names)
