"""MATE-KD: what is masked, what is drawn, where gradients go, and what must not change."""

from __future__ import annotations

import mindspore as ms
import numpy as np
import pytest
from mindspore import Tensor, nn

from ms_eff.bench.modes import inference
from ms_eff.methods.distillation import Teacher
from ms_eff.methods.distillation.generator import Draw, Generator, Masking, StraightThrough
from ms_eff.methods.distillation.mate import AdversarialForward, Filler, MateForward
from ms_eff.train.optim import OptimizerState
from ms_eff.train.settings import TrainSettings
from ms_eff.train.step import Forward, Step, TrainStep
from tests.methods.distillation.problems import network
from tests.tolerances import LAYER
from tests.train.helpers import weights

torch = pytest.importorskip("torch")

BATCH, LENGTH, VOCAB = 3, 8, 27
SPECIAL = (2, 3)


def _inputs() -> np.ndarray:
    """Return ids, masks and types of three framed sentences of 8, 5 and 4 tokens."""
    rng = np.random.default_rng(0)
    planes = np.zeros((BATCH, 3, LENGTH), np.int32)
    for row, length in enumerate((8, 5, 4)):
        planes[row, 0, :length] = [2, *rng.integers(4, VOCAB, length - 2), 3]
        planes[row, 1, :length] = 1
    return planes


INPUTS = _inputs()
LABELS = Tensor(np.array([0, 1, -100], np.int32))


def _filler(share=0.5) -> Filler:
    table = network("bert", depth=1).token_table.asnumpy()
    filler = Filler(
        Generator(table, LENGTH, depth=1, seed=3),
        Masking(share, SPECIAL),
        Draw(VOCAB, temperature=1.0),
        BATCH,
        LENGTH,
    )
    filler.shuffle(np.random.default_rng(5))
    return filler


@pytest.fixture(scope="module")
def pair():
    student = network("bert", depth=1, seed=1, dropout=0.2)
    return student, Teacher(network("bert", depth=1, seed=2, dim=8))


def _filled(filler: Filler) -> np.ndarray:
    """Return the inputs with the ids that the filler draws at this point."""
    ids, other = Tensor(INPUTS[:, 0]), INPUTS.copy()
    hits, drawn, _ = filler(ids, Tensor(INPUTS[:, 1].astype(np.float32)))
    other[:, 0] = filler.filled(ids, hits, drawn).asnumpy()
    return other


def _disagreement(student, teacher, inputs: np.ndarray):
    """Return D by its formula, over the two samples that count."""
    with inference(student):
        s, t = (torch.tensor(net(Tensor(inputs)).asnumpy()[:2]) for net in (student, teacher))
    return -(t.softmax(-1) * s.log_softmax(-1)).sum(-1).mean()


@pytest.mark.parametrize("share", [0.3, 0.5])
def test_a_rounded_share_of_the_words_is_masked_and_nothing_else(share):
    masking = Masking(share, SPECIAL)
    ids, tokens = INPUTS[:, 0], INPUTS[:, 1].astype(np.float32)
    seen = np.zeros((BATCH, LENGTH))
    for seed in range(20):
        scores = np.random.default_rng(seed).random((BATCH, LENGTH), dtype=np.float32)
        hits = masking(Tensor(ids), Tensor(tokens), Tensor(scores)).asnumpy()
        chosen = hits.sum(1)
        assert set(np.unique(chosen)) <= {0.0, 1.0}
        words = np.array([6, 3, 2])
        assert chosen.sum(1).tolist() == np.floor(share * words + 0.5).tolist()
        seen += chosen
        best = np.argsort(-np.where(np.isin(ids, SPECIAL) | (tokens == 0), -1, scores)[0])
        assert set(np.flatnonzero(chosen[0])) == set(best[: int(chosen[0].sum())])
    frame = np.isin(ids, SPECIAL) | (tokens == 0)
    assert (seen[frame] == 0).all()
    assert (seen[~frame] > 0).all()


def test_draws_follow_the_softmax():
    draw = Draw(4, temperature=1.0)
    logits = np.log(np.array([0.1, 0.2, 0.3, 0.4], np.float32))
    starts = np.random.default_rng(0).integers(1 << 20, size=4000).astype(np.int32)
    drawn, soft = draw(Tensor(np.tile(logits, (4000, 1))), Tensor(starts))
    found = np.bincount(drawn.asnumpy(), minlength=4) / 4000
    np.testing.assert_allclose(found, [0.1, 0.2, 0.3, 0.4], atol=0.04)  # four deviations: 0.031
    np.testing.assert_array_equal(soft.asnumpy().argmax(-1), drawn.asnumpy())
    np.testing.assert_allclose(soft.asnumpy().sum(-1), 1, atol=LAYER)


def test_straight_through_equals_torchs_detached_sum():
    rng = np.random.default_rng(0)
    soft, table = rng.random((5, 7), dtype=np.float32), rng.random((7, 4), dtype=np.float32)
    drawn, out = rng.integers(0, 7, 5), rng.random((5, 4), dtype=np.float32)
    through = StraightThrough()

    def scalar(soft, drawn, table, out):
        return (through(soft, drawn, table) * out).sum()

    found = ms.grad(scalar)(*map(Tensor, (soft, drawn.astype(np.int32), table, out)))
    twin = torch.tensor(soft, requires_grad=True)
    hot = torch.nn.functional.one_hot(torch.tensor(drawn), 7) - twin.detach() + twin
    ((hot @ torch.tensor(table)) * torch.tensor(out)).sum().backward()
    np.testing.assert_allclose(found.asnumpy(), twin.grad.numpy(), atol=LAYER)
    rows = through(*map(Tensor, (soft, drawn.astype(np.int32), table))).asnumpy()
    np.testing.assert_array_equal(rows, table[drawn])


@pytest.mark.gate
def test_words_that_are_not_masked_stay_bit_for_bit(pair):
    student, teacher = pair
    filler = _filler()
    forward = AdversarialForward(student, teacher, filler)
    ids, tokens = Tensor(INPUTS[:, 0]), Tensor(INPUTS[:, 1].astype(np.float32))
    hits, drawn, soft = filler(ids, tokens)
    filled = filler.filled(ids, hits, drawn).asnumpy()
    chosen = hits.asnumpy().sum(1) > 0
    np.testing.assert_array_equal(filled[~chosen], INPUTS[:, 0][~chosen])
    assert (filled[chosen] != INPUTS[:, 0][chosen]).any()
    table = student.token_table
    embedded = forward.embedded(ids, hits, drawn, soft, table).asnumpy()
    np.testing.assert_array_equal(embedded, table.asnumpy()[filled])
    again = filler(ids, tokens)[1].asnumpy()
    np.testing.assert_array_equal(again, drawn.asnumpy())  # until other numbers are put in
    filler.shuffle(np.random.default_rng(6))
    assert (filler(ids, tokens)[1].asnumpy() != drawn.asnumpy()).any()


@pytest.mark.gate
def test_a_generator_step_climbs_the_disagreement_and_changes_nothing_else(pair):
    student, teacher = pair
    filler = _filler()
    forward = AdversarialForward(student, teacher, filler)
    own = tuple(filler.generator.trainable_params())
    settings = TrainSettings(optimizer="sgd", weight_decay=0.0)
    optimizer = OptimizerState(own, settings, np.full(9, 1e-3, np.float32))
    step = TrainStep(Step(filler.generator, forward, own), optimizer)
    wanted = float(_disagreement(student, teacher, _filled(filler)))
    before = [weights(cell) for cell in (student, teacher, filler.generator)]
    student.set_train(True)
    with inference(forward):
        first = float(step(Tensor(INPUTS), LABELS)[0].asnumpy())
    assert student.training
    assert student.embeddings.drop.training
    after = [weights(cell) for cell in (student, teacher, filler.generator)]
    for was, now in zip(before[:2], after[:2], strict=True):
        for name, array in was.items():  # the place in dropout's tables too
            np.testing.assert_array_equal(now[name], array, err_msg=name)
    moved = [name for name, array in before[2].items() if (after[2][name] != array).any()]
    assert "generator.word" in moved
    assert "generator.blocks.0.attn.qkv.weight" in moved
    assert first == pytest.approx(-wanted, abs=LAYER)  # what it minimises is -D


@pytest.mark.gate
def test_the_students_loss_is_the_sum_of_three_thirds(pair):
    student, teacher = pair
    student.set_train(False)
    filler = _filler()
    ce = nn.CrossEntropyLoss()
    forward = MateForward(Forward(student, ce), teacher, (0.5, 0.3, 0.2), filler)
    loss, outputs = forward(Tensor(INPUTS), LABELS)
    logits = student(Tensor(INPUTS)).asnumpy()
    np.testing.assert_allclose(outputs.asnumpy(), logits, atol=LAYER)
    labels = torch.nn.functional.cross_entropy(torch.tensor(logits[:2]), torch.tensor([0, 1]))
    wanted = 0.5 * labels + 0.3 * _disagreement(student, teacher, INPUTS)
    wanted += 0.2 * _disagreement(student, teacher, _filled(filler))
    np.testing.assert_allclose(loss.asnumpy(), wanted.numpy(), atol=LAYER)
