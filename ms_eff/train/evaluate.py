"""Accuracy and loss of a model on a whole split, each sample counted exactly once."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

import mindspore as ms
import numpy as np
from mindspore import Tensor, nn

from ms_eff.train.workers import summed

__all__ = ["Score", "Scored", "evaluate", "predict"]


class Scored(Protocol):
    """What every evaluation comes to, whatever a network is judged by."""

    @property
    def merit(self) -> float:
        """A number that is the higher the better the network is."""

    @property
    def samples(self) -> int:
        """How many samples were counted."""

    def measures(self) -> dict[str, float]:
        """Return what results record, by name: the metric and the `loss`."""


@dataclass(frozen=True)
class Score:
    """Result of an evaluation.

    Attributes:
        accuracy: share of samples whose highest logit is their label, in [0, 1].
        loss: mean cross entropy (natural log, no label smoothing).
        samples: how many were counted.
    """

    accuracy: float
    loss: float
    samples: int

    @property
    def merit(self) -> float:
        """The accuracy."""
        return self.accuracy

    def measures(self) -> dict[str, float]:
        """Return loss and accuracy by name."""
        return {"loss": self.loss, "accuracy": self.accuracy}


def evaluate(
    model: nn.Cell, batches: Iterable[tuple[Tensor, Tensor, Tensor]], mirror: bool = False
) -> Score:
    """Score a classifier on batches of (inputs, labels, indices); index -1 marks padding.

    On several workers, each scores its share and the sums are added up.

    Args:
        model: inputs to logits.
        batches: of the whole split.
        mirror: score the mean of each image's logits and its mirror image's (images of shape
            (B, C, H, W), mirrored left to right).
    """
    sums = np.zeros(3)  # correct, loss, samples
    for logits, labels, _ in _outputs(model, batches, mirror):
        shifted = logits - logits.max(axis=1, keepdims=True)
        log_sum = np.log(np.exp(shifted).sum(axis=1))
        losses = log_sum - shifted[np.arange(len(labels)), labels]
        sums += ((logits.argmax(axis=1) == labels).sum(), losses.sum(), len(labels))
    correct, loss, samples = summed(sums)
    return Score(float(correct / samples), float(loss / samples), int(samples))


def predict(
    model: nn.Cell, batches: Iterable[tuple[Tensor, Tensor, Tensor]]
) -> tuple[np.ndarray, np.ndarray]:
    """Return the (n, ...) float64 outputs of all samples and their (n,) indices, as they came."""
    found = [(outputs, indices) for outputs, _, indices in _outputs(model, batches)]
    outputs, indices = (np.concatenate(column) for column in zip(*found, strict=True))
    return outputs, indices


def _outputs(
    model: nn.Cell, batches: Iterable[tuple[Tensor, Tensor, Tensor]], mirror: bool = False
) -> Iterable[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    was_training = model.training
    model.set_train(False)
    try:
        for inputs, labels, indices in batches:
            real = indices.asnumpy() >= 0
            outputs = _logits(model, inputs)
            if mirror:
                images = np.ascontiguousarray(inputs.asnumpy()[..., ::-1])
                outputs = (outputs + _logits(model, Tensor(images))) / 2
            yield outputs[real], labels.asnumpy()[real], indices.asnumpy()[real]
    finally:
        model.set_train(was_training)


def _logits(model: nn.Cell, inputs: Tensor) -> np.ndarray:
    return np.asarray(model(inputs).astype(ms.float32).asnumpy(), np.float64)
