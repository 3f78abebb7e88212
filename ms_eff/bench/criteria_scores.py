"""How good a decomposed network is: its accuracy, or its agreement with the dense network."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from mindspore import nn

__all__ = ["accuracy_of", "agreement_of", "agreement_with"]

Array = np.ndarray


def accuracy_of(split: Any, batch: int) -> Callable[[nn.Cell], dict[str, float]]:
    """Return a function that scores a network by its accuracy on a whole split."""

    def score(network: nn.Cell) -> dict[str, float]:
        right = 0
        for images, labels in _batches(split, batch):
            right += int((_logits(network, images, batch).argmax(axis=1) == labels).sum())
        return {"accuracy": right / len(split)}

    return score


def agreement_with(dense: nn.Cell, split: Any, batch: int) -> Callable[[nn.Cell], dict[str, float]]:
    """Return a function that scores a network by how far it says what `dense` says of a split."""
    expected = _all_logits(dense, split, batch)

    def score(network: nn.Cell) -> dict[str, float]:
        return agreement_of(expected, _all_logits(network, split, batch))

    return score


def agreement_of(expected: Array, found: Array) -> dict[str, float]:
    """Compare logits (n, C): share of equal first choices, and the mean cosine of centred rows.

    >>> agreement_of(np.array([[1.0, 0.0], [0.0, 1.0]]), np.array([[2.0, 0.0], [1.0, 0.0]]))
    {'agreement': 0.5, 'cosine': 0.0}
    """
    same = float((expected.argmax(axis=1) == found.argmax(axis=1)).mean())
    one, other = (x - x.mean(axis=1, keepdims=True) for x in (expected, found))
    lengths = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
    cosine = float(((one * other).sum(axis=1) / np.maximum(lengths, 1e-30)).mean())
    return {"agreement": same, "cosine": cosine}


def _all_logits(network: nn.Cell, split: Any, batch: int) -> Array:
    return np.concatenate([_logits(network, images, batch) for images, _ in _batches(split, batch)])


def _batches(split: Any, size: int) -> Iterator[tuple[Array, Array]]:
    for start in range(0, len(split), size):
        images, labels = split.batch(np.arange(start, min(start + size, len(split))), None)
        yield images, labels


def _logits(network: nn.Cell, images: Array, size: int) -> Array:
    """Return the logits of at most `size` images; a last batch is filled up to that one shape."""
    from mindspore import Tensor

    from ms_eff.bench.modes import inference

    count = len(images)
    if count < size:
        images = np.concatenate([images, np.repeat(images[:1], size - count, axis=0)])
    with inference(network):
        found: Array = network(Tensor(images)).asnumpy()[:count]
    return found
