from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.launching import msrun
from tests.methods.swiftlearn.two_workers import train

WORKER = Path(__file__).with_name("two_workers.py")


@pytest.mark.slow
def test_two_workers_hold_the_same_subset_and_do_the_work_of_one_of_twice_the_batch(tmp_path):
    two, one = tmp_path / "two", tmp_path / "one"
    for folder in (two, one):
        folder.mkdir()
    msrun(WORKER, two, 4, folder=tmp_path)
    first, second = (dict(np.load(two / f"rank{rank}.npz")) for rank in (0, 1))
    assert first.keys() == second.keys()
    for name, array in first.items():
        np.testing.assert_array_equal(second[name], array, err_msg=name)
    for count in ("samples_trained", "samples_evaluated"):
        assert first[count] == first[f"form_{count}"]
    train(one, 8)
    alone = dict(np.load(one / "rank0.npz"))
    assert alone["samples_trained"] == first["samples_trained"]
    assert len(alone["subset"]) == len(first["subset"])
