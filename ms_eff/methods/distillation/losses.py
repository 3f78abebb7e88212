"""What a student may be trained on, as functions that graph mode parses, and losses made of them.

All take logits of classifiers `(B, K)` with labels `(B,)`, or of language models `(B, T, V)` with
the token ids `(B, T)` as labels, of which each token is to be predicted from those before it.
Labels of -100 do not count.
"""

from __future__ import annotations

import mindspore as ms
from mindspore import Tensor, nn, ops

from ms_eff.data.pipeline import IGNORED

__all__ = [
    "SmoothedLoss",
    "SoftenedLoss",
    "averaged",
    "cosine_distance",
    "counted",
    "counted_samples",
    "disagreement",
    "divergence",
    "judged_rows",
    "labels_of_rows",
    "squared_error",
    "token_mask",
    "unit_rows",
]

# keeps norms and their gradients finite; far below any hidden state
_TINY = 1e-12


def judged_rows(outputs: Tensor) -> Tensor:
    """Return the float32 logits (n, K) that are judged: all, or those of tokens that have a next.

    >>> judged_rows(ops.zeros((2, 5, 7))).shape
    (8, 7)
    """
    if outputs.ndim == 3:
        outputs = outputs[:, :-1]
    return ops.reshape(outputs, (-1, outputs.shape[-1])).astype(ms.float32)


def labels_of_rows(labels: Tensor) -> Tensor:
    """Return the labels (n,) of the judged rows: the classes, or the tokens that follow."""
    if labels.ndim == 2:
        labels = labels[:, 1:]
    return ops.reshape(labels, (-1,))


def counted(labels: Tensor) -> Tensor:
    """Return (n,) 1.0 for each judged row whose label counts, else 0.0."""
    return (labels_of_rows(labels) != IGNORED).astype(ms.float32)


def counted_samples(labels: Tensor) -> Tensor:
    """Return (B,) 1.0 for each sample that has a label that counts, else 0.0."""
    found = (labels != IGNORED).astype(ms.float32)
    return found if labels.ndim == 1 else found[:, 0]


def averaged(values: Tensor, weights: Tensor) -> Tensor:
    """Return the mean of values (n,) weighted by (n,) zeros and ones; 0 if there are no ones."""
    return (values * weights).sum() / ops.maximum(weights.sum(), 1.0)


def divergence(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """Return (n,) T^2 KL(softmax(t / T) || softmax(s / T)) of logits (n, K) (arXiv:1503.02531)."""
    found = ops.log_softmax(student / temperature, -1)
    wanted = ops.log_softmax(teacher / temperature, -1)
    return temperature**2 * (ops.exp(wanted) * (wanted - found)).sum(-1)


def disagreement(student: Tensor, teacher: Tensor) -> Tensor:
    """Return (n,) -sum softmax(t) log softmax(s) of logits (n, K): MATE-KD's D (2105.05812)."""
    return -(ops.softmax(teacher, -1) * ops.log_softmax(student, -1)).sum(-1)


def squared_error(student: Tensor, teacher: Tensor, factor: Tensor) -> Tensor:
    """Return (n,) means over the K of (s - phi t)^2 of logits (n, K) (2104.07163, equation 4)."""
    gap = student - factor * teacher
    return (gap * gap).mean(-1)


def cosine_distance(student: Tensor, teacher: Tensor) -> Tensor:
    """Return 1 - cos of the angle between vectors (..., D), as DistilGPT2's training has it."""
    return 1.0 - (unit_rows(student) * unit_rows(teacher)).sum(-1)


def token_mask(inputs: Tensor) -> Tensor:
    """Return (B, T) 1.0 for each token of the inputs that is no padding, else 0.0.

    Args:
        inputs: (B, 3, T) ids, mask and types, or (B, T) ids, where nothing is padding.
    """
    if inputs.ndim == 3:
        return inputs[:, 1].astype(ms.float32)
    return ops.ones_like(inputs).astype(ms.float32)


def unit_rows(x: Tensor) -> Tensor:
    """Return vectors (..., D) at length 1."""
    return x / ops.sqrt(ops.sum(x * x, -1, True) + _TINY)


class SoftenedLoss(nn.Cell):
    """The mean of `divergence` over all that counts.

    Args:
        temperature: T.
    """

    def __init__(self, temperature: float) -> None:
        super().__init__()
        self.temperature = temperature

    def construct(self, student: Tensor, teacher: Tensor, labels: Tensor) -> Tensor:
        """Return the scalar for outputs of both; the labels say only what counts."""
        values = divergence(judged_rows(student), judged_rows(teacher), self.temperature)
        return averaged(values, counted(labels))


class SmoothedLoss(nn.Cell):
    """Cross entropy with (1 - alpha) y + alpha / K: label smoothing (arXiv:1512.00567).

    TF-reg is the same with another alpha; see `core.equivalent_smoothing`.

    Args:
        alpha: share of the label that is spread over all K classes.
    """

    def __init__(self, alpha: float) -> None:
        super().__init__()
        self.alpha = alpha

    def construct(self, outputs: Tensor, labels: Tensor) -> Tensor:
        """Return the scalar mean over all that counts."""
        logs = ops.log_softmax(judged_rows(outputs), -1)
        weights = counted(labels)
        # any class does for rows that do not count
        classes = ops.reshape(ops.maximum(labels_of_rows(labels), 0), (-1, 1))
        right = ops.reshape(ops.gather_d(logs, 1, classes), (-1,))
        return -averaged((1.0 - self.alpha) * right + self.alpha * logs.mean(-1), weights)
