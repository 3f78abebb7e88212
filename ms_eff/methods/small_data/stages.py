"""Cheaper stretches of training: early layers that rest, images that are smaller."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from mindspore import Parameter, Tensor, nn, ops
from mindspore.ops.primitive import constexpr

from ms_eff.bench.counts import calls_of
from ms_eff.errors import ConfigError, PlanError, first_line, nearest

__all__ = ["Shrunk", "area_weights", "require_layers", "require_smaller", "without_layers"]


class Shrunk(nn.Cell):
    """A forward over smaller images, each pixel the mean of the area that it covers.

    Two matrix products do it, so that it runs and compiles wherever the network does.

    Args:
        forward: (inputs, labels) -> (loss, outputs).
        side: height and width of the images that `forward` sees.
    """

    def __init__(self, forward: nn.Cell, side: int) -> None:
        super().__init__(auto_prefix=False)
        self.forward = forward
        self.side = side

    def construct(self, inputs: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Return (loss, outputs) of images ``(N, C, H, W)``."""
        batch, channels, height, width = inputs.shape
        side = self.side
        rows = ops.matmul(inputs.reshape(-1, width), _averaging(width, side))
        rows = rows.reshape(batch * channels, height, side).transpose(0, 2, 1)
        small = ops.matmul(rows.reshape(-1, height), _averaging(height, side))
        small = small.reshape(batch, channels, side, side).transpose(0, 1, 3, 2)
        return self.forward(small, labels)


@constexpr
def _averaging(size: int, side: int) -> Tensor:
    """Return the (size, side) matrix as a constant of the graph, whose shapes are known then."""
    return Tensor(np.ascontiguousarray(area_weights(size, side).T))


def area_weights(size: int, side: int) -> np.ndarray:
    """Return the (side, size) float32 weights of the means over `size / side` pixels.

    >>> area_weights(4, 2).tolist()
    [[0.5, 0.5, 0.0, 0.0], [0.0, 0.0, 0.5, 0.5]]
    """
    edges = np.linspace(0, size, side + 1)
    pixels = np.arange(size)
    low = np.maximum(pixels, edges[:-1, None])
    high = np.minimum(pixels + 1, edges[1:, None])
    return (np.maximum(high - low, 0.0) * side / size).astype(np.float32)


def require_smaller(network: nn.Cell, image_shape: Sequence[int], side: int) -> None:
    """Raise PlanError unless images are larger than `side` and a network takes them so small.

    A network that says its `image_size` takes no other: one position could be added to all tokens
    without an error. Of others, one inference on zeros tells.

    Args:
        network: left as it is.
        image_shape: (C, H, W).
        side: of the smaller images.
    """
    channels, height, width = image_shape
    if side >= min(height, width):
        raise PlanError(
            f"methods.progressive_resizing.side: {side} is not below the images' {height} x {width}"
        )
    kind, why = type(network).__name__, ""
    if hasattr(network, "image_size"):
        why = "it is made for one size"
    else:
        try:
            calls_of(network, (1, channels, side, side))
        except ConfigError as error:
            why = first_line(error.__cause__ or error)
    if why:
        raise PlanError(
            f"methods.progressive_resizing.side = {side}: {kind} does not take images of "
            f"{side} x {side} in place of {height} x {width} ({why}); use another side, or a "
            "network of free sizes"
        )


def require_layers(weights: Sequence[Parameter], layers: Sequence[str]) -> None:
    """Raise PlanError unless each layer, named by the start of their names, has weights here."""
    for layer in layers:
        if not any(_lies_in(weight, layer) for weight in weights):
            depth = layer.count(".") + 1
            known = {".".join(weight.name.split(".")[:depth]) for weight in weights}
            raise PlanError(
                f"methods.progressive_freezing.layers: '{layer}' has no trained weight"
                f"{nearest(layer, known)}; weights are called as '{weights[0].name}'"
            )


def without_layers(weights: Sequence[Parameter], layers: Sequence[str]) -> tuple[Parameter, ...]:
    """Return the weights that lie in none of the layers, named by the start of their names.

    Raises:
        PlanError: a layer has no weights among these, or nothing would be left.
    """
    require_layers(weights, layers)
    left = tuple(w for w in weights if not any(_lies_in(w, layer) for layer in layers))
    if not left:
        raise PlanError("methods.progressive_freezing: nothing would be trained; leave a layer out")
    return left


def _lies_in(weight: Parameter, layer: str) -> bool:
    return weight.name == layer or weight.name.startswith(f"{layer}.")
