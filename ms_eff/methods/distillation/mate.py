"""MATE-KD's forwards: text that student and teacher are to disagree on (arXiv:2105.05812)."""

from __future__ import annotations

import mindspore as ms
import numpy as np
from mindspore import Parameter, Tensor, nn, ops

from ms_eff.data.pipeline import IGNORED
from ms_eff.methods.distillation import core
from ms_eff.methods.distillation.generator import (
    WINDOWS,
    Draw,
    Generator,
    Masking,
    StraightThrough,
)
from ms_eff.methods.distillation.losses import (
    averaged,
    counted,
    disagreement,
    judged_rows,
    token_mask,
)
from ms_eff.methods.distillation.teacher import Teacher
from ms_eff.train.step import Forward

__all__ = ["AdversarialForward", "Filler", "MaskedForward", "MateForward"]


class Filler(nn.Cell):
    """Masks a batch and lets the generator fill it in, with random numbers put in from outside.

    Args:
        generator: see there.
        masking: which tokens.
        draw: how.
        batch: B, texts of a batch.
        longest: L of the longest batch.
    """

    def __init__(
        self, generator: Generator, masking: Masking, draw: Draw, batch: int, longest: int
    ) -> None:
        super().__init__(auto_prefix=False)
        self.generator, self.masking, self.draw = generator, masking, draw
        self.masked = core.most_masked(longest, masking.share)
        scores, starts = np.zeros((batch, longest)), np.zeros((batch, self.masked))
        self.scores = _parameter(scores.astype(np.float32), "distillation.scores")
        self.starts = _parameter(starts.astype(np.int32), "distillation.starts")

    def shuffle(self, rng: np.random.Generator) -> None:
        """Put in the random numbers of the next call."""
        self.scores.set_data(Tensor(rng.random(self.scores.shape, dtype=np.float32)))
        starts = rng.integers(WINDOWS, size=self.starts.shape, dtype=np.int32)
        self.starts.set_data(Tensor(starts))

    def hits(self, ids: Tensor, tokens: Tensor) -> Tensor:
        """Return (B, K, L), which tokens are masked; see `Masking`."""
        return self.masking(ids, tokens, self.scores[:, : ids.shape[1]])

    def construct(self, ids: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return hits (B, K, L), the ids drawn (B K,) and their softmax (B K, V)."""
        hits = self.hits(ids, tokens)
        logits = self.generator(ids, tokens, hits)
        starts = ops.reshape(self.starts[:, : hits.shape[1]], (-1,))
        drawn, soft = self.draw(logits, starts)
        return hits, drawn, soft

    def filled(self, ids: Tensor, hits: Tensor, drawn: Tensor) -> Tensor:
        """Return the ids (B, L) int32 with the drawn ones in the masked places."""
        new = ops.reshape(drawn, (-1, hits.shape[1], 1)).astype(ms.float32)  # exact up to 2^24
        put = (hits * new).sum(1).astype(ms.int32)
        chosen = hits.sum(1).astype(ms.int32)
        return ids * (1 - chosen) + put * chosen


class MateForward(Forward):
    """w1 loss(labels) + w2 D(x) + w3 D(x'), D the student's cross entropy to the teacher's outputs.

    x' is the batch with a share of its tokens filled in by the generator, which rests here.

    Args:
        forward: whose network is the student, and the loss on the labels.
        teacher: of the same outputs.
        weights: w1, w2, w3.
        filler: makes x'.
    """

    def __init__(
        self,
        forward: Forward,
        teacher: Teacher,
        weights: tuple[float, float, float],
        filler: Filler,
    ) -> None:
        super().__init__(forward.model, forward.loss)
        self.teacher, self.filler = teacher, filler
        self.of_labels, self.of_text, self.of_generated = weights

    def construct(self, inputs: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Return the scalar float32 loss and the student's outputs for x."""
        ids, tokens = ids_of(inputs), token_mask(inputs)
        hits, drawn, _ = self.filler(ids, tokens)
        filled = ops.stop_gradient(self.filler.filled(ids, hits, drawn))
        # both texts in one pass: half as much to compile
        both = ops.concat((inputs, with_ids(inputs, filled)), 0)
        outputs = self.model(both)
        taught = ops.stop_gradient(self.teacher(both))
        batch = inputs.shape[0]
        weights = counted(labels)
        text = disagreement(judged_rows(outputs[:batch]), judged_rows(taught[:batch]))
        generated = disagreement(judged_rows(outputs[batch:]), judged_rows(taught[batch:]))
        loss = self.of_labels * self.loss(outputs[:batch].astype(ms.float32), labels)
        loss = loss + self.of_text * averaged(text, weights)
        return loss + self.of_generated * averaged(generated, weights), outputs[:batch]


class AdversarialForward(nn.Cell):
    """-D(x'): what a step of the generator minimises.

    Student and teacher see x' as vectors: the rows of their own token embeddings, through which the
    gradient reaches the generator. Their weights rest, and so does the student's dropout, which
    must be in inference mode when this is compiled.

    Args:
        student: offers `from_embedded` and `token_table`.
        teacher: likewise.
        filler: makes x'.
    """

    def __init__(self, student: nn.Cell, teacher: Teacher, filler: Filler) -> None:
        super().__init__(auto_prefix=False)
        self.student, self.teacher, self.filler = student, teacher, filler
        self.student_table = student.token_table
        self.teacher_table = teacher.network.token_table
        self.through = StraightThrough()
        self.gather = ops.Gather()
        self.spread = ops.BatchMatMul(transpose_a=True)

    def construct(self, inputs: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Return the scalar -D(x') and the student's outputs; the labels say what counts."""
        ids = ids_of(inputs)
        hits, drawn, soft = self.filler(ids, token_mask(inputs))
        theirs = self.embedded(ids, hits, drawn, soft, self.teacher_table)
        own = self.embedded(ids, hits, drawn, soft, self.student_table)
        taught = self.teacher.from_embedded(theirs, inputs)
        outputs = self.student.from_embedded(own, inputs)
        values = disagreement(judged_rows(outputs), judged_rows(taught))
        return -averaged(values, counted(labels)), outputs

    def embedded(
        self, ids: Tensor, hits: Tensor, drawn: Tensor, soft: Tensor, table: Tensor
    ) -> Tensor:
        """Return token embeddings (B, L, D) of x': those of x wherever nothing is masked."""
        rows = self.through(soft, drawn, table)
        rows = ops.reshape(rows, (-1, hits.shape[1], table.shape[1]))
        chosen = ops.reshape(hits.sum(1), (-1, ids.shape[1], 1))
        # sums of one row and zeros: exact
        return self.gather(table, ids, 0) * (1.0 - chosen) + self.spread(hits, rows) * chosen


class MaskedForward(nn.Cell):
    """The cross entropy of masked tokens: what the generator learns before the first round.

    Args:
        filler: whose generator, and which tokens.
    """

    def __init__(self, filler: Filler) -> None:
        super().__init__(auto_prefix=False)
        self.filler = filler
        self.loss = nn.CrossEntropyLoss(ignore_index=IGNORED)

    def construct(self, inputs: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Return the scalar mean over the masked tokens, and the logits (B K, V)."""
        ids, tokens = ids_of(inputs), token_mask(inputs)
        hits = self.filler.hits(ids, tokens)
        logits = self.filler.generator(ids, tokens, hits)
        wide = ops.reshape(ids, (-1, 1, ids.shape[1])).astype(ms.float32)
        wanted = ops.reshape((hits * wide).sum(-1), (-1,))
        used = ops.reshape(hits.sum(-1), (-1,))
        classes = (wanted + IGNORED * (1.0 - used)).astype(ms.int32)
        return self.loss(logits, classes), logits


def ids_of(inputs: Tensor) -> Tensor:
    """Return the token ids (B, L) of inputs (B, 3, L) or (B, L)."""
    return inputs[:, 0] if inputs.ndim == 3 else inputs


def with_ids(inputs: Tensor, ids: Tensor) -> Tensor:
    """Return the inputs with other ids (B, L)."""
    if inputs.ndim == 3:
        return ops.stack((ids, inputs[:, 1], inputs[:, 2]), 1)
    return ids


def _parameter(values: np.ndarray, name: str) -> Parameter:
    return Parameter(Tensor(values), name=name, requires_grad=False)
