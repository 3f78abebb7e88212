"""SciPy's threads, in processes of their own: MindSpore's import takes them away."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

_THREADS = """
import mindspore
import ms_eff.methods.lowrank.core
from threadpoolctl import threadpool_info
print({p["num_threads"] for p in threadpool_info() if "scipy" in p["filepath"]})
"""


@pytest.mark.gate
@pytest.mark.parametrize("allowed", [None, "1"])
def test_decompositions_have_the_cores_that_the_user_allows(allowed: str | None) -> None:
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    environment = {n: v for n, v in os.environ.items() if n not in names}
    if allowed is not None:
        environment["OMP_NUM_THREADS"] = allowed
    command = [sys.executable, "-c", _THREADS]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=True)
    threads = len(os.sched_getaffinity(0)) if allowed is None else int(allowed)
    assert done.stdout.strip().splitlines()[-1] == f"{{{threads}}}"
