"""The watch over a job's processes, with small scripts in the place of trainings."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from pathlib import Path

import pytest

from ms_eff.launch import supervise
from ms_eff.launch.arguments import LaunchOptions
from ms_eff.launch.job import Job
from ms_eff.launch.supervise import Supervisor
from ms_eff.runtime import DeviceSettings

# each worker: says its rank, then does what the test wants; the scheduler waits to be ended
SCRIPT = """
import os, signal, sys, time
rank = int(os.environ.get("RANK_ID", "0"))
if os.environ.get("MS_ROLE") == "MS_SCHED":
    time.sleep(600)
print("here is rank", rank, "card", os.environ.get("DEVICE_ID"), flush=True)
def stop(number, frame):
    time.sleep(0.3 * rank)  # one saves longer than the other
    print("saved by", rank, flush=True)
    sys.exit(143)
"""
TRAIN = SCRIPT + "signal.signal(signal.SIGTERM, stop)\n"
WAIT = "time.sleep(600)\n"


class Scripted(Job):
    """A job whose processes run a script of the test's."""

    @property
    def process(self) -> list[str]:
        return [sys.executable, "-c", self.command]


@pytest.fixture(autouse=True)
def _impatient(monkeypatch):
    monkeypatch.setattr(supervise, "_FAREWELL", 0.5)
    monkeypatch.setattr(supervise, "_SCHEDULER", 0.2)


def job(folder: Path, script: str, **options) -> Job:
    wanted = LaunchOptions(Path("c.yaml"), **{"nproc": 2, **options})
    return Scripted(
        wanted, script, DeviceSettings(), folder, 8118, folder / "logs", ("/x y/train.sh",)
    )


def alive(marker: str) -> bool:
    """Tell whether a process with that marker in its command line still runs."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if marker.encode() in path.read_bytes():
                return True
        except OSError:
            continue
    return False


def when(condition, then) -> threading.Thread:
    """Do something as soon as a condition holds."""

    def wait() -> None:
        until = time.monotonic() + 20
        while not condition() and time.monotonic() < until:
            time.sleep(0.05)
        then()

    thread = threading.Thread(target=wait)
    thread.start()
    return thread


def written(folder: Path, name: str, text: str):
    def check() -> bool:
        path = folder / "logs" / f"{name}.log"
        return path.exists() and text in path.read_text()

    return check


def test_a_job_that_ends_well_shows_its_first_rank(tmp_path, capfd):
    code = Supervisor(job(tmp_path, SCRIPT)).run()
    assert code == 0
    assert capfd.readouterr().out == "here is rank 0 card 0\n"
    assert (tmp_path / "logs" / "rank_1.log").read_text() == "here is rank 1 card 1\n"


def test_the_rank_that_fails_is_named_with_the_end_of_its_log(tmp_path, capfd):
    marker = f"# {tmp_path}\n"
    script = SCRIPT + "if rank == 1: sys.exit('no more space')\n" + WAIT + marker
    began = time.monotonic()
    code = Supervisor(job(tmp_path, script)).run()
    said = capfd.readouterr().err.splitlines()
    assert code == 1
    assert time.monotonic() - began < 20
    assert "here is rank 1 card 1" in said  # the end of its log
    assert said[-1].startswith("train.sh: rank 1 of 2 failed with code 1: no more space; log: ")
    resume = "resume with: '/x y/train.sh' --config c.yaml --nproc 2 --resume auto"
    assert said[-1].endswith(resume)
    assert not alive(marker.strip())  # nothing is left behind


def test_a_mistake_of_the_users_keeps_its_code(tmp_path, capfd):
    script = SCRIPT + "print('ms-eff: data.root: no such folder')\n"
    script += "print('[WARNING] DISTRIBUTED(9075): goodbye'); sys.exit(2)\n"
    assert Supervisor(job(tmp_path, script)).run() == 2
    last = capfd.readouterr().err.splitlines()[-1]
    assert "failed with code 2: ms-eff: data.root: no such folder; log: " in last


def test_a_worker_that_is_killed_takes_even_deaf_ones_with_it(tmp_path, capfd):
    deaf = "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
    script = SCRIPT + deaf + "print(os.getpid(), 'waits', flush=True)\n" + WAIT
    watch = Supervisor(job(tmp_path, script))

    def kill() -> None:
        os.kill(watch.workers[1].process.pid, signal.SIGKILL)

    thread = when(written(tmp_path, "rank_1", "waits"), kill)
    assert watch.run() == 1
    thread.join()
    last = capfd.readouterr().err.splitlines()[-1]
    assert "rank 1 of 2 was killed by SIGKILL" in last
    assert all(worker.code is not None for worker in watch.workers)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_lets_every_worker_save(tmp_path, capfd, number):
    both = (written(tmp_path, "rank_0", "here"), written(tmp_path, "rank_1", "here"))
    script = TRAIN + "print('here', flush=True)\n" + WAIT
    thread = when(lambda: all(b() for b in both), lambda: os.kill(os.getpid(), number))
    before = signal.getsignal(number)
    assert Supervisor(job(tmp_path, script)).run() == 128 + number
    thread.join()
    assert signal.getsignal(number) == before
    for rank in (0, 1):  # the slower one too
        assert f"saved by {rank}" in (tmp_path / "logs" / f"rank_{rank}.log").read_text()
    last = capfd.readouterr().err.splitlines()[-1]
    assert last.startswith(f"train.sh: stopped by {signal.Signals(number).name}; resume with: ")


def test_one_that_does_not_save_in_time_is_said(tmp_path, capfd):
    script = SCRIPT + "signal.signal(signal.SIGTERM, signal.SIG_IGN)\nprint('deaf', flush=True)\n"
    thread = when(written(tmp_path, "rank_0", "deaf"), lambda: os.kill(os.getpid(), signal.SIGTERM))
    watch = Supervisor(job(tmp_path, script + WAIT, nproc=1, grace=1))
    assert watch.run() == 143
    thread.join()
    assert "rank 0 had not saved when 1 s ended it; resume from the last checkpoint" in (
        capfd.readouterr().err
    )


def test_another_host_that_gives_up_ends_this_one(tmp_path, capfd):
    (tmp_path / ".failed-host-1.txt").write_text("of an earlier job")
    hosts = {"nnodes": 2, "node_rank": 0, "nproc": 1}
    script = SCRIPT + WAIT

    def fail() -> None:
        time.sleep(0.1)
        (tmp_path / ".failed-host-1.txt").write_text("rank 1 of 2 was killed by SIGKILL")

    thread = when(written(tmp_path, "rank_0", "here"), fail)
    assert Supervisor(job(tmp_path, script, **hosts)).run() == 1
    thread.join()
    last = capfd.readouterr().err.splitlines()[-1]
    assert last.startswith("train.sh: host-1: rank 1 of 2 was killed by SIGKILL; resume with")
