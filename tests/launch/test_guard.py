"""A launcher that is killed leaves nothing behind, and its workers save."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ms_eff.launch.guard import started_at
from tests.launch.test_supervise import SCRIPT, TRAIN, WAIT, alive, job
from tests.launching import ROOT

LAUNCH = """
import sys
from pathlib import Path
from ms_eff.launch.supervise import Supervisor
from tests.launch.test_guard import read_job
sys.exit(Supervisor(read_job(Path(sys.argv[1]))).run())
"""


def read_job(folder: Path):
    return job(folder, (folder / "script.py").read_text(), grace=1)


def killed(folder: Path, script: str, ready: str) -> str:
    """Kill a launcher once both workers are ready; return the mark that its processes bear."""
    marker = f"# {folder}"
    (folder / "script.py").write_text(f"{script}{marker}\n")
    launcher = subprocess.Popen(
        [sys.executable, "-c", LAUNCH, folder],
        env={**os.environ, "PYTHONPATH": str(ROOT)}, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    logs = [folder / "logs" / f"rank_{rank}.log" for rank in (0, 1)]
    until = time.monotonic() + 60
    while not all(log.exists() and ready in log.read_text() for log in logs):
        assert time.monotonic() < until
        assert launcher.poll() is None
        time.sleep(0.05)
    launcher.send_signal(signal.SIGKILL)
    launcher.wait()
    return marker


def gone(marker: str, limit: float) -> bool:
    until = time.monotonic() + limit
    while alive(marker) and time.monotonic() < until:
        time.sleep(0.05)
    return not alive(marker)


def test_workers_save_and_end_and_the_scheduler_too(tmp_path):
    marker = killed(tmp_path, TRAIN + "print('ready', flush=True)\n" + WAIT, "ready")
    assert gone(marker, 20)
    for rank in (0, 1):
        assert f"saved by {rank}" in (tmp_path / "logs" / f"rank_{rank}.log").read_text()


@pytest.mark.gate
def test_one_that_cannot_save_is_killed_after_the_grace_with_what_it_started(tmp_path):
    deaf = "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
    child = "import subprocess; child = subprocess.Popen(['sleep', '600'])\n"
    ready = "print('ready', child.pid, flush=True)\n"
    marker = killed(tmp_path, SCRIPT + deaf + child + ready + WAIT, "ready")
    assert gone(marker, 20)
    for rank in (0, 1):
        said = (tmp_path / "logs" / f"rank_{rank}.log").read_text()
        assert has_ended(int(said.split()[-1]))


def test_a_process_id_that_was_given_out_again_is_another_process():
    own = os.getpid()
    assert started_at(own) == started_at(own)
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    assert started_at(child.pid) not in (None, started_at(own))
    child.communicate()
    assert started_at(child.pid) is None


def has_ended(pid: int) -> bool:
    until = time.monotonic() + 5
    while started_at(pid) is not None and time.monotonic() < until:
        time.sleep(0.05)
    return started_at(pid) is None
