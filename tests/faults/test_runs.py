"""Two runs in one folder, and clocks that go backwards."""

import ast
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import ms_eff
from ms_eff.errors import SetupError
from ms_eff.train.interrupt import lock_folder
from ms_eff.train.store import Store
from tests.faults.test_data import dense_net
from tests.train.helpers import trainer, weights

HOLD = """
import sys, time
from pathlib import Path
from ms_eff.train.interrupt import lock_folder
with lock_folder(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_folder_is_another_process_s_until_that_is_gone(tmp_path):
    command = [sys.executable, "-c", HOLD, str(tmp_path / "run")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout.readline() == "held\n"
        with pytest.raises(SetupError, match="another run is writing here"):
            lock_folder(tmp_path / "run").__enter__()
        other.kill()  # no time to tidy up
        other.wait()
        with lock_folder(tmp_path / "run"):
            pass


@pytest.mark.gate
def test_a_clock_that_goes_backwards_changes_nothing(tmp_path, monkeypatch):
    plain = trainer(tmp_path / "plain", dense_net(), epochs=2)
    plain.fit()
    now = [2e9]

    def backwards():
        now[0] -= 3600
        return now[0]

    monkeypatch.setattr(time, "time", backwards)
    run = trainer(tmp_path / "run", dense_net(), epochs=2)
    rows = run.fit()
    assert 0 < rows[0]["seconds"] <= rows[1]["seconds"] < 600
    assert all(row["samples_per_second"] > 0 for row in rows)
    for name, array in weights(plain.model).items():
        assert np.array_equal(array, weights(run.model)[name]), name


def test_the_newest_checkpoint_is_so_by_its_step_whatever_the_clock_said(tmp_path):
    store = Store(tmp_path, keep=3)
    for age, step in enumerate((6, 12, 18)):
        saved = store.save(step, {"w": np.zeros(1, np.float32)}, {"step": step}, {})
        for path in (saved, *saved.iterdir()):  # each was written when the clock had gone back
            os.utime(path, (10**9 - age, 10**9 - age))
    found, _ = store.latest()
    assert found is not None
    assert found.state["step"] == 18


# for the record of a date, and to match a profiler's trace
MAY_ASK_THE_DATE = {"bench/environment.py", "bench/profiler.py"}


def test_nothing_is_timed_by_a_clock_that_may_be_set():
    root = Path(ms_eff.__file__).parent
    found = set()
    for path in root.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                called = (node.value.id, node.attr)
                if called in {("time", "time"), ("datetime", "now"), ("datetime", "utcnow")}:
                    found.add(path.relative_to(root).as_posix())
    assert found <= MAY_ASK_THE_DATE
