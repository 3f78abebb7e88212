"""SAM on two workers equals SAM on one with the same batch."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.launching import ROOT, msrun

WORKER = Path(__file__).with_name("worker.py")


@pytest.mark.slow
def test_two_workers_climb_along_the_gradient_of_both(tmp_path) -> None:
    alone = [sys.executable, WORKER, tmp_path]
    subprocess.run(alone, env={"PYTHONPATH": str(ROOT)}, cwd=tmp_path, check=True, timeout=280)
    msrun(WORKER, tmp_path, folder=tmp_path)
    one, two = (np.load(tmp_path / f"weights{count}.npz") for count in (1, 2))
    for name in one.files:
        np.testing.assert_allclose(two[name], one[name], atol=1e-5, err_msg=name)
