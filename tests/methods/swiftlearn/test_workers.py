from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.methods.swiftlearn.two_workers import train

MSRUN = Path(sys.executable).with_name("msrun")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.mark.slow
@pytest.mark.skipif(not MSRUN.exists(), reason="msrun comes with MindSpore")
def test_two_workers_hold_the_same_subset_and_do_the_work_of_one_of_twice_the_batch(tmp_path):
    two, one = tmp_path / "two", tmp_path / "one"
    for folder in (two, one):
        folder.mkdir()
    root = Path(__file__).parents[3]
    command = [
        MSRUN, "--worker_num=2", "--local_worker_num=2", f"--master_port={_free_port()}",
        f"--log_dir={tmp_path / 'log'}", "--join=True",
        root / "tests/methods/swiftlearn/two_workers.py", two, "4",
    ]  # fmt: skip
    here = {"PYTHONPATH": str(root), "PATH": f"{MSRUN.parent}:{os.environ['PATH']}", "GLOG_v": "3"}
    done = subprocess.run(
        [str(word) for word in command], env={**os.environ, **here}, capture_output=True,
        text=True, timeout=240, cwd=tmp_path,
    )  # fmt: skip
    assert (two / "rank1.npz").exists(), done.stdout[-2000:] + done.stderr[-2000:]
    first, second = (dict(np.load(two / f"rank{rank}.npz")) for rank in (0, 1))
    assert first.keys() == second.keys()
    for name, array in first.items():
        if "moving" not in name:  # each worker has its own batch statistics
            np.testing.assert_array_equal(second[name], array, err_msg=name)
    for count in ("samples_trained", "samples_evaluated"):
        assert first[count] == first[f"form_{count}"]
    train(one, 8)
    alone = dict(np.load(one / "rank0.npz"))
    assert alone["samples_trained"] == first["samples_trained"]
    assert len(alone["subset"]) == len(first["subset"])
