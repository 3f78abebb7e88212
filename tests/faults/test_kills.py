"""SIGKILL at random moments of a training, of a family: it ends as if nothing had been."""

import json
import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from ms_eff.models.shards import Shards
from ms_eff.train import checkpoint
from ms_eff.train.store import Store
from tests.faults.killed import EPOCHS, training
from tests.methods.progressive.conftest import parent

__all__ = ["parent"]  # the fixture

KILLS = 20
# a family makes some forty files and folders; each call imports MindSpore and compiles anew
FAMILY_KILLS = 4


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


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_family_killed_behind_random_renames_ends_with_the_same_members(parent, tmp_path):
    assert start(parent, tmp_path / "whole", 0, module="killed_family") == 0
    moments = random.Random(os.getpid())
    for _ in range(FAMILY_KILLS):
        code = start(parent, tmp_path / "cut", moments.randint(1, 6), module="killed_family")
        assert code == -signal.SIGKILL
    assert start(parent, tmp_path / "cut", 0, module="killed_family") == 0
    for ratio in ("1.25", "2"):
        whole, cut = (Shards(tmp_path / run / "members" / ratio) for run in ("whole", "cut"))
        assert whole.names() == cut.names()
        for name in whole.names():
            np.testing.assert_array_equal(cut.array(name), whole.array(name), err_msg=name)
    rows = [
        json.loads((tmp_path / run / "family.json").read_text())["rows"] for run in ("whole", "cut")
    ]
    assert rows[0] == rows[1]


def start(*words: object, module: str = "killed") -> int:
    called = [sys.executable, "-m", f"tests.faults.{module}", *map(str, words)]
    return subprocess.run(called, cwd=Path(__file__).parents[2], check=False).returncode
