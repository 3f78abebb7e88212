"""Losses and distances of distillation."""

from __future__ import annotations

from typing import Any

import mindspore as ms
import numpy as np
from mindspore import Parameter, Tensor, nn, ops

from cross_check.cells.subject import Subject, draw
from ms_eff.methods.distillation import losses
from ms_eff.methods.distillation.generator import Draw, Generator, Masking, StraightThrough
from ms_eff.methods.distillation.mate import Filler
from ms_eff.methods.distillation.rail import Form, LayerDistance
from ms_eff.methods.distillation.teacher import Teacher

__all__ = ["generated", "layers", "loss_cells", "taught"]


class _Taught(nn.Cell):
    def __init__(self, term: str, inputs: int, classes: int, value: float) -> None:
        super().__init__()
        self.term, self.value = term, value
        self.student = nn.Dense(inputs, classes)
        self.teacher = nn.Dense(inputs, classes)
        for parameter in self.teacher.get_parameters():
            parameter.requires_grad = False

    def construct(self, x: Tensor) -> Tensor:
        student, teacher = self.student(x), ops.stop_gradient(self.teacher(x))
        if self.term == "divergence":
            return losses.divergence(student, teacher, self.value)
        if self.term == "squared error":
            return losses.squared_error(student, teacher, self.value)
        return losses.disagreement(student, teacher)


class _Losses(nn.Cell):
    """The two loss cells over a student and a teacher, some of whose samples do not count."""

    def __init__(
        self, inputs: int, classes: int, temperature: float, alpha: float, labels: list[int]
    ) -> None:
        super().__init__()
        self.student, self.teacher = nn.Dense(inputs, classes), nn.Dense(inputs, classes)
        self.resting = Teacher(self.teacher)
        self.softened = losses.SoftenedLoss(temperature)
        self.smoothed = losses.SmoothedLoss(alpha)
        self.labels = Tensor(np.array(labels, np.int32))

    def construct(self, x: Tensor) -> Tensor:
        student = self.student(x)
        softened = self.softened(student, self.resting(x), self.labels)
        return ops.stack((softened, self.smoothed(student, self.labels)))


def loss_cells(**args: Any) -> Subject:
    """Return the softened and the smoothed loss of a student, its teacher a cell that rests."""
    cell = _Losses(**args)
    draw(cell)
    return Subject(cell)


class _Generated(nn.Cell):
    """What MATE's generator makes of a text: logits, draws, and the vectors that replace tokens.

    The noise of the draws is the generator's own; the twin takes it from here as data.
    """

    def __init__(
        self, table: np.ndarray, positions: int, share: float, special: list[int], batch: int
    ) -> None:
        super().__init__()
        vocab = len(table)
        self.generator = Generator(table, positions, depth=1, seed=0)
        draws = Draw(vocab, temperature=0.7)
        masking = Masking(share, tuple(special))
        self.filler = Filler(self.generator, masking, draws, batch, positions)
        self.filler.shuffle(np.random.default_rng(8))
        self.through = StraightThrough()
        self.table = Tensor(table)
        rows = self.filler.starts.asnumpy().reshape(-1, 1) + np.arange(vocab)
        noise = Tensor(draws.noise.asnumpy()[rows])
        self.noise = Parameter(noise, "noise", requires_grad=False)

    def construct(self, tokens: Tensor) -> Tensor:
        ids, kept = tokens[:, 0], (tokens[:, 1] > 4).astype(ms.float32)
        hits, drawn, soft = self.filler(ids, kept)
        logits = self.generator(ids, kept, hits)
        return ops.concat((logits, soft, self.through(soft, drawn, self.table)), 1)


def generated(vocab: int, dim: int, **args: Any) -> Subject:
    """Return MATE's generator over a table of token vectors; these come along for the twin."""
    table = np.random.default_rng(9).standard_normal((vocab, dim)).astype(np.float32)
    return Subject(_Generated(table, **args), {"table": table.tolist()})


def taught(**args: Any) -> Subject:
    """Return a student and a resting teacher, with one of the losses of distillation."""
    cell = _Taught(**args)
    draw(cell)
    return Subject(cell)


class _Layers(nn.Cell):
    def __init__(self, layers: int, dims: list[int], width: int, form: Form) -> None:
        super().__init__()
        self.layers = layers
        self.distance = LayerDistance(layers, (dims[0], dims[1]), width, form, seed=0)

    def construct(self, x: Tensor) -> Tensor:
        x = ops.transpose(x, (1, 0, 2))
        return self.distance(x[: self.layers], x[self.layers :])


def layers(**args: Any) -> Subject:
    """Return RAIL's distance of the student's layers and the teacher's, stacked in one input."""
    return Subject(_Layers(**args))
