from __future__ import annotations

import pytest
from pydantic import ValidationError

from ms_eff.config import load_config
from ms_eff.errors import ConfigError
from ms_eff.methods.distillation import DistillationSettings


def test_the_defaults_are_the_papers():
    mate = DistillationSettings(kind="mate")
    assert (mate.mask, mate.shares) == (0.3, (1 / 3, 1 / 3, 1 / 3))
    made = mate.generator
    assert (made.lr, made.clip_norm, made.steps, made.student_steps) == (5e-7, 5.0, 10, 100)
    assert made.temperature == 1.0
    annealing = DistillationSettings(kind="annealing")
    assert (annealing.max_temperature, annealing.first_share) == (10, 30 / 40)
    assert DistillationSettings(kind="rail").width == 128
    assert DistillationSettings().shares == (0.5, 0.5, 0.0)


def test_distilgpt2_can_be_asked_for():
    settings = DistillationSettings(weights=(2, 5, 1), temperature=2)
    assert settings.shares == (2, 5, 1)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"kind": "tf_reg", "teacher": "runs/a"}, r"teacher: for kind vanilla, .*not tf_reg"),
        ({"kind": "mate", "temperature": 4}, r"temperature: for kind vanilla, self, rail"),
        ({"kind": "vanilla", "certainty": 0.9}, r"certainty: for kind tf_reg, not vanilla"),
        ({"weights": (1, 0, 0)}, r"weights = \[1\.0, 0\.0, 0\.0\]: nothing is left of the teacher"),
        ({"weights": (1, -1, 0)}, "greater than or equal to 0"),
        ({"kind": "mate", "mask": 0}, "greater than 0"),
        ({"kind": "fitnets"}, "'vanilla', 'self'"),
    ],
)
def test_what_does_not_fit_is_refused(wrong, said):
    with pytest.raises(ValidationError, match=said):
        DistillationSettings(**wrong)


def test_a_wrong_key_of_the_generator_is_one_line(tmp_path):
    path = tmp_path / "c.yaml"
    path.write_text(
        "model: {name: bert}\ndata: {name: digits}\n"
        "methods:\n  - distillation: {kind: mate, generator: {stepz: 3}}\n"
    )
    with pytest.raises(ConfigError, match=r"generator\.stepz.*did you mean 'steps'"):
        load_config(path)
