"""Losses and their gradients against torch, in which every formula is written anew."""

from __future__ import annotations

import mindspore as ms
import numpy as np
import pytest
from mindspore import Parameter, Tensor, nn, ops

from ms_eff.methods.distillation import losses
from ms_eff.methods.distillation.core import equivalent_smoothing
from tests.tolerances import LAYER

torch = pytest.importorskip("torch")
functional = torch.nn.functional

RNG = np.random.default_rng(0)
STUDENT, TEACHER = RNG.normal(size=(2, 6, 4)).astype(np.float32) * 2
LABELS = np.array([0, 3, -100, 1, 2, -100], np.int32)
REAL = LABELS >= 0


class _All(nn.Cell):
    """Every loss of one pair of logits: one graph for all of them."""

    def __init__(self) -> None:
        super().__init__()
        self.softened = losses.SoftenedLoss(3.0)
        self.smoothed = losses.SmoothedLoss(0.3)
        self.factor = Parameter(Tensor(0.4, ms.float32), requires_grad=False)

    def construct(self, student: Tensor, teacher: Tensor, labels: Tensor) -> tuple[Tensor, ...]:
        weights = losses.counted(labels)
        own, other = losses.judged_rows(student), losses.judged_rows(teacher)
        return (
            self.softened(student, teacher, labels),
            self.smoothed(student, labels),
            losses.averaged(losses.disagreement(own, other), weights),
            losses.averaged(losses.squared_error(own, other, self.factor), weights),
            losses.averaged(losses.cosine_distance(own, other), weights),
        )


NAMES = ("softened", "smoothed", "disagreement", "squared error", "cosine")


def _expected(student, teacher, labels) -> list:
    t3 = functional.softmax(teacher / 3, -1)
    classes = torch.tensor(labels, dtype=torch.long)
    return [
        9 * functional.kl_div(
            functional.log_softmax(student / 3, -1), t3, reduction="batchmean"
        ),
        functional.cross_entropy(student, classes, label_smoothing=0.3),
        -(functional.softmax(teacher, -1) * functional.log_softmax(student, -1)).sum(-1).mean(),
        functional.mse_loss(student, 0.4 * teacher),
        (1 - functional.cosine_similarity(student, teacher, -1)).mean(),
    ]  # fmt: skip


@pytest.fixture(scope="module")
def cell():
    return _All()


def test_values_equal_torchs_over_what_counts(cell):
    found = cell(Tensor(STUDENT), Tensor(TEACHER), Tensor(LABELS))
    rows = (torch.tensor(STUDENT[REAL]), torch.tensor(TEACHER[REAL]), LABELS[REAL])
    for name, own, other in zip(NAMES, found, _expected(*rows), strict=True):
        np.testing.assert_allclose(own.asnumpy(), other.numpy(), atol=LAYER, err_msg=name)


@pytest.mark.parametrize("which", range(5), ids=NAMES)
def test_gradients_equal_torchs_and_what_does_not_count_has_none(cell, which):
    def chosen(student, teacher, labels):
        return cell(student, teacher, labels)[which]

    found = ms.grad(chosen)(Tensor(STUDENT), Tensor(TEACHER), Tensor(LABELS)).asnumpy()
    student = torch.tensor(STUDENT[REAL], requires_grad=True)
    _expected(student, torch.tensor(TEACHER[REAL]), LABELS[REAL])[which].backward()
    np.testing.assert_allclose(found[REAL], student.grad.numpy(), atol=LAYER)
    np.testing.assert_array_equal(found[~REAL], 0)


def test_the_gradient_is_zero_where_the_student_is_the_teacher():
    loss = losses.SoftenedLoss(2.0)
    found = ms.grad(loss)(Tensor(TEACHER), Tensor(TEACHER), Tensor(LABELS))
    np.testing.assert_allclose(found.asnumpy(), 0, atol=2e-6)  # rounding of log-softmax


def test_tf_reg_is_the_cross_entropy_with_its_virtual_teacher():
    alpha, certainty, classes = 0.4, 0.7, 4
    smoothed = losses.SmoothedLoss(equivalent_smoothing(alpha, certainty, classes))
    found = smoothed(Tensor(STUDENT), Tensor(LABELS)).asnumpy()
    logs = functional.log_softmax(torch.tensor(STUDENT[REAL], dtype=torch.float64), -1)
    right = functional.one_hot(torch.tensor(LABELS[REAL]).long(), classes)
    virtual = torch.where(right == 1, certainty, (1 - certainty) / (classes - 1))
    wanted = -(((1 - alpha) * right + alpha * virtual) * logs).sum(-1).mean()
    np.testing.assert_allclose(found, wanted.numpy(), atol=LAYER)


def test_language_models_are_judged_on_the_next_token():
    rng = np.random.default_rng(1)
    outputs, ids = rng.normal(size=(2, 5, 7)).astype(np.float32), rng.integers(0, 7, (2, 5))
    rows = losses.judged_rows(Tensor(outputs)).asnumpy()
    np.testing.assert_array_equal(rows, outputs[:, :-1].reshape(-1, 7))
    labels = Tensor(ids.astype(np.int32))
    np.testing.assert_array_equal(losses.labels_of_rows(labels).asnumpy(), ids[:, 1:].ravel())
    found = losses.SmoothedLoss(0.0)(Tensor(outputs), labels).asnumpy()
    wanted = functional.cross_entropy(torch.tensor(rows), torch.tensor(ids[:, 1:].ravel()))
    np.testing.assert_allclose(found, wanted.numpy(), atol=LAYER)
    filling = labels * 0 - 100
    half = ops.concat((labels[:1], filling[:1]))
    assert losses.counted(half).asnumpy().tolist() == [1.0] * 4 + [0.0] * 4
    assert losses.counted_samples(half).asnumpy().tolist() == [1.0, 0.0]
    assert losses.SmoothedLoss(0.1)(Tensor(outputs), filling).asnumpy() == 0


def test_padding_is_seen_in_the_mask_of_text_and_nowhere_in_blocks():
    planes = Tensor(np.array([[[5, 6, 0], [1, 1, 0], [0, 0, 0]]], np.int32))
    assert losses.token_mask(planes).asnumpy().tolist() == [[1.0, 1.0, 0.0]]
    assert losses.token_mask(planes[:, 0]).asnumpy().tolist() == [[1.0, 1.0, 1.0]]
