"""How many bad inputs are generated: HYPOTHESIS_PROFILE=nightly, or else a few, always the same."""

import os

from hypothesis import HealthCheck, settings

_ALL = {
    "deadline": None,  # the machine may be busy
    "database": None,
    "suppress_health_check": list(HealthCheck),
}
# of each of the eleven properties of test_generated: 220 and 2,200 in all
settings.register_profile("fast", max_examples=20, derandomize=True, **_ALL)
settings.register_profile("nightly", max_examples=200, print_blob=True, **_ALL)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "fast"))
