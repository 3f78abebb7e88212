from __future__ import annotations

import numpy as np
import pytest

from ms_eff.deploy.verify import Difference, difference
from ms_eff.errors import VerificationError

ONES = np.ones((2, 3), np.float32)


def giving(*arrays):
    return lambda batch: arrays


def test_difference_is_the_largest_over_outputs_and_batches():
    gap = difference(giving(ONES, 7 * ONES), giving(ONES + 0.25, 7 * ONES), [(ONES,), (ONES,)])
    assert gap == Difference(max_abs=0.25, scale=7.0, samples=4)


def test_tolerance_is_relative_only_for_large_outputs():
    assert not Difference(2e-4, 1.0, 1).within(1e-4)
    assert Difference(2e-4, 2.0, 1).within(1e-4)


@pytest.mark.parametrize(
    ("live", "exported", "message"),
    [
        (ONES, np.full_like(ONES, np.nan), "the exported model gives NaN"),
        (np.full_like(ONES, np.inf), ONES, "the live model gives NaN"),
        (ONES, ONES[:1], r"gives \[\(2, 3\)\], the exported one \[\(1, 3\)\]"),
    ],
)
def test_incomparable_outputs_are_refused(live, exported, message):
    with pytest.raises(VerificationError, match=message):
        difference(giving(live), giving(exported), [(ONES,)])
