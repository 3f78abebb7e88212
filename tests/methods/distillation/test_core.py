from __future__ import annotations

import numpy as np
import pytest

from ms_eff.methods.distillation import core
from ms_eff.methods.distillation.core import Purpose, stream
from tests.tolerances import HOST


def test_phi_rises_by_a_tenth_every_third_of_thirty_epochs():
    found = [core.annealing_factor(epoch, 30, 10) for epoch in range(30)]
    np.testing.assert_allclose(found, np.repeat(np.arange(1, 11), 3) / 10, atol=HOST)


@pytest.mark.parametrize("epochs", [1, 3, 4, 7, 30, 45])
def test_phi_never_falls_and_ends_at_one(epochs):
    found = [core.annealing_factor(epoch, epochs, 10) for epoch in range(epochs)]
    assert found == sorted(found)
    assert found[0] >= 0.1
    assert found[-1] == 1.0


@pytest.mark.parametrize(("epochs", "share", "first"), [(40, 0.75, 30), (4, 0.75, 3), (2, 0.1, 1)])
def test_both_phases_have_an_epoch(epochs, share, first):
    assert core.first_phase(epochs, share) == first


@pytest.mark.parametrize("classes", [2, 5])
@pytest.mark.parametrize("certainty", [0.3, 0.9, 1.0])
def test_tf_reg_equals_label_smoothing(classes, certainty):
    alpha, label = 0.2, np.eye(classes)[1]
    virtual = np.where(label == 1, certainty, (1 - certainty) / (classes - 1))
    wanted = (1 - alpha) * label + alpha * virtual
    other = core.equivalent_smoothing(alpha, certainty, classes)
    np.testing.assert_allclose((1 - other) * label + other / classes, wanted, atol=HOST)


def test_layers_are_distinct_ascending_and_differ_from_epoch_to_epoch():
    draws = [core.draw_layers(12, 6, stream(Purpose.LAYERS, 3, epoch)) for epoch in range(50)]
    assert all(len(draw) == 6 and (np.diff(draw) > 0).all() for draw in draws)
    assert all(draw[0] >= 0 and draw[-1] < 12 for draw in draws)
    assert len({tuple(draw) for draw in draws}) > 10
    counts = np.bincount(np.concatenate(draws), minlength=12)
    assert counts.min() > 10  # 25 expected, 3.5 deviation
    again = core.draw_layers(12, 6, stream(Purpose.LAYERS, 3, 7))
    assert again.tolist() == draws[7].tolist()


def test_purposes_have_numbers_of_their_own():
    draws = {stream(purpose, 1, number).random() for purpose in Purpose for number in range(5)}
    assert len(draws) == 5 * len(Purpose)


@pytest.mark.parametrize("share", [0.05, 0.3, 0.5, 1.0])
def test_no_text_has_more_masked_tokens_than_there_is_room_for(share):
    for length in range(1, 40):
        room = core.most_masked(length, share)
        assert 1 <= room <= length
        assert room >= max(np.floor(share * n + 0.5) for n in range(length + 1))


def test_rounds_come_before_the_first_step_and_every_so_many():
    counted = [step for step in range(25) if step % 10 == 0]
    assert [core.rounds_before(n, 10) for n in range(25)] == [
        sum(step < n for step in counted) for n in range(25)
    ]


def test_noise_is_gumbels():
    noise = core.gumbel_noise(200_000, np.random.default_rng(0)).astype(np.float64)
    assert noise.mean() == pytest.approx(np.euler_gamma, abs=0.02)
    assert noise.var() == pytest.approx(np.pi**2 / 6, rel=0.02)


def test_frames_of_sentences_are_found_and_plain_text_has_none():
    ids = np.array([[2, 8, 9, 3, 0], [2, 7, 3, 0, 0], [2, 8, 8, 8, 3]])
    assert core.special_ids(ids, np.array([4, 3, 5])) == (2, 3)
    assert core.special_ids(ids[:, 1:], np.array([3, 2, 4])) == (3,)
    assert core.special_ids(ids[:1], np.array([4])) == ()
    rng = np.random.default_rng(0)
    assert core.special_ids(rng.integers(0, 50, (20, 8)), np.full(20, 8)) == ()


@pytest.mark.parametrize("dim", [8, 64, 384, 768, 1600, 100])
def test_heads_divide_the_width(dim):
    heads = core.heads_of(dim)
    assert dim % heads == 0
    assert heads <= max(dim // 64, 1)
