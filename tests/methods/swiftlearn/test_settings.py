from __future__ import annotations

import pytest
from pydantic import ValidationError

from ms_eff.methods.swiftlearn import SwiftLearnSettings


def test_the_defaults_are_the_papers():
    settings = SwiftLearnSettings()
    assert (settings.keep, settings.warmup_epochs, settings.reevaluate_every) == (0.1, 2, None)
    assert (settings.selection, settings.temperature, settings.policy) == (
        "topk",
        1.0,
        "swiftlearn",
    )


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"keep": 0.0}, "greater than 0"),
        ({"warmup_epochs": 1}, "warmup_epochs = 1: .*give 2 or more"),
        ({"policy": "random_fresh", "selection": "sample"}, "selection: for policy swiftlearn"),
        ({"policy": "infobatch", "reevaluate_every": None, "selection": "topk"}, "selection: for"),
        ({"anneal_epochs": 1}, "anneal_epochs: for policy infobatch, not swiftlearn"),
        ({"policy": "infobatch", "warmup_epochs": 1}, "anneal_epochs = 1"),
        ({"policy": "random"}, "random_fixed"),
        ({"temperature": 0.0}, "temperature = 0: selection = topk .* use selection: sample"),
    ],
)
def test_what_does_not_fit_is_refused(given, said):
    with pytest.raises(ValidationError, match=said):
        SwiftLearnSettings(**given)


def test_no_reevaluation_may_be_said_for_any_policy():
    assert SwiftLearnSettings(policy="random_fixed", reevaluate_every=None)


def test_a_temperature_is_for_draws_and_that_of_the_default_may_be_said():
    assert SwiftLearnSettings(selection="sample", temperature=0.0).temperature == 0.0
    assert SwiftLearnSettings(temperature=1.0).selection == "topk"
