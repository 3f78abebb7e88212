from __future__ import annotations

import pytest
from pydantic import ValidationError

from ms_eff.methods.skipvit import SkipViTSettings


def test_random_scores_are_for_training_unless_told() -> None:
    assert SkipViTSettings().routed_inference
    assert not SkipViTSettings(inference="dense").routed_inference
    assert not SkipViTSettings(score="random").routed_inference


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"score_block": 5, "merge_block": 6}, "merge_block = 6: at least one block"),
        ({"drop": 1.0}, "less than 1"),
        ({"score": "random", "inference": "routed"}, "other logits each time; use dense"),
        ({"preset": "paper_like", "merge_block": 9}, "paper_like sets the blocks; drop merge_bl"),
        ({"preset": "paper"}, "paper_like"),
    ],
)
def test_settings_that_do_not_fit_are_refused(settings, message) -> None:
    with pytest.raises(ValidationError, match=message):
        SkipViTSettings(**settings)
