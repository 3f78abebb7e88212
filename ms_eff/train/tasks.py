"""What a network is trained for: which loss, how it is judged, what that is called.

The data set says which task it is (`DataSet.task`), and so does a network that has one of its own;
the trainer asks the task and knows none by name.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

import mindspore as ms
import numpy as np
from mindspore import Tensor, nn, ops

from ms_eff.bench.modes import inference
from ms_eff.train.evaluate import Scored, evaluate
from ms_eff.train.perplexity import NextTokenLoss, Perplexity
from ms_eff.train.workers import summed

__all__ = ["TASKS", "Classification", "Language", "ShiftedLoss", "Task", "task_of"]

Batches = Iterable[tuple[Tensor, Tensor, Tensor]]

# a label that cross entropy leaves out (see `ms_eff.data.pipeline.IGNORED`)
_IGNORED = -100


class Task(ABC):
    """One kind of learning.

    Attributes:
        metric: the column of results that says how good a network is.
        axes: of the outputs.
    """

    metric: ClassVar[str]
    axes: ClassVar[tuple[str, ...]]

    @abstractmethod
    def loss(self, label_smoothing: float = 0.0) -> nn.Cell:
        """Return (float32 outputs, labels) -> mean loss."""

    @abstractmethod
    def evaluate(self, model: nn.Cell, batches: Batches, mirror: bool = False) -> Scored:
        """Judge a network on batches of (inputs, labels, indices); index -1 marks padding.

        On several workers, each judges its share and the sums are added up.
        """

    @abstractmethod
    def labels(self, inputs: Tensor, outputs: tuple[int, ...], rng: np.random.Generator) -> Tensor:
        """Return labels to time a training step with, for outputs of that shape."""

    def told(self, measures: Mapping[str, Any]) -> str:
        """Say how good it is, as `accuracy 0.9120`."""
        return f"{self.metric} {self._form(measures[self.metric])}"

    @staticmethod
    @abstractmethod
    def _form(value: float) -> str:
        """Write the metric."""


class Classification(Task):
    """Inputs to logits (B, C), one label each; judged by accuracy.

    >>> Classification().told({"accuracy": 0.5})
    'accuracy 0.5000'
    """

    metric: ClassVar[str] = "accuracy"
    axes: ClassVar[tuple[str, ...]] = ("batch", "classes")

    def loss(self, label_smoothing: float = 0.0) -> nn.Cell:
        """Return the cross entropy."""
        return nn.CrossEntropyLoss(label_smoothing=label_smoothing)

    def evaluate(self, model: nn.Cell, batches: Batches, mirror: bool = False) -> Scored:
        """Return accuracy and loss; see `ms_eff.train.evaluate`."""
        return evaluate(model, batches, mirror)

    def labels(self, inputs: Tensor, outputs: tuple[int, ...], rng: np.random.Generator) -> Tensor:
        """Return random classes."""
        return Tensor(rng.integers(0, outputs[1], outputs[0]), ms.int32)

    @staticmethod
    def _form(value: float) -> str:
        return f"{value:.4f}"


class Language(Task):
    """Token ids (B, L) to logits (B, L, V), the ids their own labels; judged by perplexity.

    >>> Language().told({"perplexity": 26.142})
    'perplexity 26.14'
    """

    metric: ClassVar[str] = "perplexity"
    axes: ClassVar[tuple[str, ...]] = ("batch", "length", "vocabulary")

    def __init__(self) -> None:
        self._scorer: NextTokenLoss | None = None

    def loss(self, label_smoothing: float = 0.0) -> nn.Cell:
        """Return the cross entropy of each next token."""
        return ShiftedLoss(label_smoothing)

    def evaluate(self, model: nn.Cell, batches: Batches, mirror: bool = False) -> Scored:
        """Return the perplexity, the first token of each block not scored."""
        if self._scorer is None or self._scorer.network is not model:
            self._scorer = NextTokenLoss(model)  # kept: it is compiled
        sums = np.zeros(3)  # loss, tokens, blocks
        with inference(self._scorer):
            for inputs, _, indices in batches:
                real = indices.asnumpy() >= 0
                losses = self._scorer(inputs).asnumpy()[real].astype(np.float64)
                sums += (losses.sum(), losses.size, len(losses))
        loss, tokens, blocks = summed(sums)
        return Perplexity.of(loss / tokens, int(tokens), int(blocks))

    def labels(self, inputs: Tensor, outputs: tuple[int, ...], rng: np.random.Generator) -> Tensor:
        """Return the inputs."""
        return inputs

    @staticmethod
    def _form(value: float) -> str:
        return f"{value:.2f}" if value < 1e5 else f"{value:.3g}"


class ShiftedLoss(nn.Cell):
    """Mean cross entropy of logits (B, L, V) against the token that follows in the ids (B, L)."""

    def __init__(self, label_smoothing: float = 0.0) -> None:
        super().__init__()
        self.loss = nn.CrossEntropyLoss(ignore_index=_IGNORED, label_smoothing=label_smoothing)

    def construct(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the mean over all positions but the last of each block."""
        # the labels are moved, not the logits cut: those are a thousand times as large
        behind_last = labels[:, :1] * 0 + _IGNORED
        following = ops.concat((labels[:, 1:], behind_last), 1)
        rows = ops.reshape(logits, (-1, logits.shape[2]))
        return self.loss(rows, ops.reshape(following, (-1,)))


TASKS: dict[str, type[Task]] = {"classification": Classification, "language": Language}


def task_of(subject: object) -> Task:
    """Return the task of a data set or a network; classification where it names none.

    >>> type(task_of(nn.Dense(2, 2))).__name__
    'Classification'
    """
    return TASKS[getattr(subject, "task", "classification")]()
