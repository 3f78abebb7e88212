import math

import numpy as np
import pytest

from ms_eff.train.schedule import learning_rates
from ms_eff.train.settings import TrainSettings


def test_warmup_rises_linearly_to_the_peak():
    rates = learning_rates(TrainSettings(lr=0.4, schedule="constant"), 10, 4)
    np.testing.assert_allclose(rates[:5], [0.1, 0.2, 0.3, 0.4, 0.4], rtol=1e-6)


@pytest.mark.parametrize("final", [0.0, 0.1])
def test_cosine_follows_its_formula(final):
    settings = TrainSettings(lr=0.2, schedule="cosine", final_lr_ratio=final)
    rates = learning_rates(settings, 9, 2)
    expected = [
        0.2 * (final + (1 - final) * 0.5 * (1 + math.cos(math.pi * i / 7))) for i in range(7)
    ]
    np.testing.assert_allclose(rates[2:], expected, rtol=1e-6)


def test_step_drops_at_its_milestones():
    settings = TrainSettings(lr=1.0, schedule="step", milestones=(0.5, 0.75), gamma=0.1)
    rates = learning_rates(settings, 8, 0)
    np.testing.assert_allclose(rates, [1, 1, 1, 1, 0.1, 0.1, 0.01, 0.01], rtol=1e-6)


def test_no_steps_give_no_rates():
    assert learning_rates(TrainSettings(), 0, 0).shape == (0,)


def test_peak_follows_its_corners():
    settings = TrainSettings(lr=1.0, schedule="peak", final_lr_ratio=0.1, peak_at=0.2)
    rates = learning_rates(settings, 100, 0, flat_steps=20)
    corners = np.interp(np.arange(1, 101), [0, 20, 80, 100], [0.0, 1.0, 0.1, 0.1])
    np.testing.assert_allclose(rates, corners, rtol=1e-6)


def test_positions_between_steps_are_between_their_rates():
    settings = TrainSettings(lr=1.0, schedule="linear")
    np.testing.assert_allclose(
        learning_rates(settings, 4, 0, at=np.array([0.0, 0.5, 3.9])), [1.0, 0.875, 0.025], rtol=1e-5
    )
