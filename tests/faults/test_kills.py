"""SIGKILL at twenty random moments of one training: it ends as if nothing had been."""

import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from ms_eff.train import checkpoint
from ms_eff.train.store import Store
from tests.faults.killed import EPOCHS, training

KILLS = 20


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_killed_twenty_times_it_ends_with_the_same_weights(tmp_path):
    whole = training(tmp_path / "whole")
    whole.fit()
    moments = random.Random(os.getpid())  # others in every run of the tests
    store = Store(tmp_path / "cut" / "checkpoints", keep=1)
    for _ in range(KILLS):
        code = start(tmp_path / "cut", moments.randint(3, 5), moments.randint(0, 15))
        assert code == -signal.SIGKILL  # it has not come to the end before
        found, complaints = store.latest()  # whole, or not there
        assert found is not None
        assert not complaints
    assert start(tmp_path / "cut", 0, 0) == 0
    steps = 6 * EPOCHS
    first, last = (
        checkpoint.read(folder) for folder in (whole.store.path(steps), store.path(steps))
    )
    assert first.weights.keys() == last.weights.keys()
    for arrays, others in ((first.weights, last.weights), (first.training, last.training)):
        for name, array in arrays.items():
            np.testing.assert_array_equal(others[name], array, err_msg=name)
    assert not list(store.folder.glob(".step-*"))  # the leftovers of the killed are gone


def start(folder: Path, steps: int, milliseconds: int) -> int:
    words = ["-m", "tests.faults.killed", folder, steps, milliseconds]
    root = Path(__file__).parents[2]
    return subprocess.run([sys.executable, *map(str, words)], cwd=root, check=False).returncode
