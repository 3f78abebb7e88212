"""MindSpore Lite, for tests that need the real one."""

from __future__ import annotations

import pytest

from ms_eff.deploy.lite import Lite
from ms_eff.errors import SetupError


def lite_or_skip() -> Lite:
    """Return it, or skip the test with what is missing."""
    try:
        return Lite()
    except SetupError as error:
        pytest.skip(str(error))
