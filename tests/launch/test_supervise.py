"""The watch over a job's processes, with small scripts in the place of trainings."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from ms_eff.errors import SetupError
from ms_eff.launch import beats, supervise
from ms_eff.launch.arguments import LaunchOptions
from ms_eff.launch.job import Job
from ms_eff.launch.supervise import Supervisor
from ms_eff.runtime import DeviceSettings
from tests.launching import ROOT

# each worker: says its rank, then does what the test wants; the scheduler waits to be ended
SCRIPT = """
import os, signal, sys, time
rank = int(os.environ.get("RANK_ID", "0"))
if os.environ.get("MS_ROLE") == "MS_SCHED":
    time.sleep(600)
print("here is rank", rank, "card", os.environ.get("DEVICE_ID"), flush=True)
def stop(number, frame):
    time.sleep(0.3 * rank)  # one saves longer than the other
    print("ms-eff: stopped by SIGTERM; saved by", rank, flush=True)
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
    monkeypatch.setattr(supervise, "_LISTEN", 0.5)
    monkeypatch.setattr(beats, "_EVERY", 0.05)
    monkeypatch.setattr(beats, "_SILENT", 0.6)


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
    assert time.monotonic() - began < 40
    assert "here is rank 1 card 1" in said  # the end of its log
    assert said[-1].startswith("train.sh: rank 1 of 2 failed with code 1: no more space; log: ")
    resume = "'/x y/train.sh' --config c.yaml --nproc 2 --resume auto"
    assert said[-1].endswith(f"resume with: cd {shlex.quote(os.getcwd())} && {resume}")
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


@pytest.mark.gate
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
    assert last.startswith("train.sh: host 1: rank 1 of 2 was killed by SIGKILL; resume with")


@pytest.mark.parametrize("nproc", [1, 2])
def test_a_stop_before_there_is_anything_to_save_waits_for_nobody(tmp_path, capfd, nproc):
    """Neither for the scheduler, which waits for workers, nor for MindSpore to let go of one."""
    here = written(tmp_path, "rank_0", "here")
    thread = when(here, lambda: os.kill(os.getpid(), signal.SIGTERM))
    began = time.monotonic()
    assert Supervisor(job(tmp_path, SCRIPT + WAIT, nproc=nproc)).run() == 143
    assert time.monotonic() - began < 60  # not the grace of 120 s
    thread.join()
    last = capfd.readouterr().err.splitlines()[-1]
    assert "stopped by SIGTERM, when there was nothing to save; resume with: cd" in last


def test_who_cannot_save_for_want_of_the_others_is_not_waited_for(tmp_path, capfd):
    one_deaf = "if rank == 1: signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
    script = SCRIPT + one_deaf + "print('waits', flush=True)\n" + WAIT
    both = (written(tmp_path, "rank_0", "waits"), written(tmp_path, "rank_1", "waits"))
    thread = when(lambda: all(b() for b in both), lambda: os.kill(os.getpid(), signal.SIGTERM))
    began = time.monotonic()
    assert Supervisor(job(tmp_path, script, grace=60)).run() == 143
    assert time.monotonic() - began < 40
    thread.join()
    assert "rank 1 had not saved when 0 s ended it" in capfd.readouterr().err


def test_a_host_that_ends_unsaved_is_told_to_the_others(tmp_path):
    thread = when(written(tmp_path, "rank_0", "here"), lambda: os.kill(os.getpid(), signal.SIGTERM))
    hosts = {"nnodes": 2, "node_rank": 0, "nproc": 1}
    assert Supervisor(job(tmp_path, SCRIPT + WAIT, **hosts)).run() == 143
    thread.join()
    assert (tmp_path / ".failed-host-0.txt").read_text() == "stopped by SIGTERM"


class Neighbour:
    """Host 1 of 2, of two workers, as far as its signs of life go."""

    def __init__(self, folder: Path, **changes: object) -> None:
        options = {"nnodes": 2, "node_rank": 1, "nproc": 2, **changes}
        self.beats = beats.Beats(job(folder, SCRIPT, **options))
        self._on = True
        self._thread = threading.Thread(target=self._beat)
        self._thread.start()

    def _beat(self) -> None:
        while self._on:
            self.beats.look()
            time.sleep(0.02)

    def fall_silent(self) -> None:
        self._on = False
        self._thread.join()


def test_a_host_that_falls_silent_is_named_with_its_ranks(tmp_path, capfd):
    watch = Supervisor(job(tmp_path, SCRIPT + WAIT, nnodes=2))
    other = Neighbour(tmp_path)
    thread = when(written(tmp_path, "rank_0", "here"), other.fall_silent)
    assert watch.run() == 1
    thread.join()
    last = capfd.readouterr().err.splitlines()[-1]
    assert last.startswith("train.sh: host 1 (ranks 2 to 3) gave no sign of life for")
    assert "ranks 2 to 3" in (tmp_path / ".failed-host-0.txt").read_text()  # for a third host


def test_a_rank_that_fails_after_a_host_was_lost_is_not_named_first(tmp_path, capfd, monkeypatch):
    monkeypatch.setattr(beats, "_SILENT", 60)
    gone = tmp_path / "gone"
    until = f"while not os.path.exists({str(gone)!r}): time.sleep(0.05)\n"
    script = SCRIPT + until + "sys.exit('connection lost') if rank == 1 else time.sleep(600)\n"
    watch = Supervisor(job(tmp_path, script, nnodes=2))
    other = Neighbour(tmp_path)

    def lose() -> None:
        other.fall_silent()
        gone.touch()

    thread = when(written(tmp_path, "rank_1", "here"), lose)
    assert watch.run() == 1
    thread.join()
    last = capfd.readouterr().err.splitlines()[-1]
    expected = "host 1 (ranks 2 to 3) fell silent; rank 1 of 4 failed with code 1: connection lost"
    assert last.startswith(f"train.sh: {expected}")


def test_a_host_that_never_came_is_told_behind_what_failed(tmp_path, capfd):
    script = SCRIPT + "if rank == 1: sys.exit('no peer')\n" + WAIT
    assert Supervisor(job(tmp_path, script, nnodes=2)).run() == 1
    last = capfd.readouterr().err.splitlines()[-1]
    failed = "rank 1 of 4 failed with code 1: no peer"
    assert f"train.sh: {failed}; nothing was heard of host 1 (ranks 2 to 3); log: " in last


def test_a_job_under_nohup_outlives_its_terminal(tmp_path, capfd):
    def close_and_stop() -> None:
        os.kill(os.getpid(), signal.SIGHUP)
        time.sleep(0.5)
        os.kill(os.getpid(), signal.SIGINT)

    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        both = [written(tmp_path, f"rank_{rank}", "ready") for rank in (0, 1)]
        thread = when(lambda: all(b() for b in both), close_and_stop)
        script = TRAIN + "print('ready', flush=True)\n" + WAIT
        assert Supervisor(job(tmp_path, script)).run() == 130
        thread.join()
    finally:
        signal.signal(signal.SIGHUP, before)
    assert "stopped by SIGINT; resume with" in capfd.readouterr().err


@pytest.mark.gate
def test_a_job_goes_on_when_nobody_reads_what_it_says(tmp_path):
    code = (
        "import sys; from pathlib import Path; from ms_eff.launch.supervise import Supervisor; "
        "from tests.launch.test_supervise import SCRIPT, job; "
        "sys.exit(Supervisor(job(Path(sys.argv[1]), SCRIPT + sys.argv[2])).run())"
    )
    reader, writer = os.pipe()
    os.close(reader)
    for script, expected in (("", 0), ("sys.exit('no more space')", 1)):
        done = subprocess.run(
            [sys.executable, "-c", code, tmp_path, script], timeout=60,
            env={**os.environ, "PYTHONPATH": str(ROOT)}, stdout=writer, stderr=writer,
        )  # fmt: skip
        assert done.returncode == expected
    os.close(writer)


def test_logs_that_cannot_be_written_are_said(tmp_path):
    (tmp_path / "logs").touch()
    with pytest.raises(SetupError, match=r"--log-dir .*logs: cannot be written"):
        Supervisor(job(tmp_path, SCRIPT)).run()


def test_a_worker_that_hangs_ends_the_job_and_is_named(tmp_path, capfd):
    script = SCRIPT + "open(os.environ['MS_EFF_PULSE'], 'w').close()\n"
    script += "if rank == 1: os.kill(os.getpid(), signal.SIGSTOP)\n" + WAIT
    watch = Supervisor(job(tmp_path, script, hang=3))
    assert watch.run() == 1
    last = capfd.readouterr().err.splitlines()[-1]
    silent = "rank 0, rank 1 (stopped by a signal)"
    assert last.startswith(f"train.sh: no step was finished for 3 s by {silent}; resume with: cd ")
    assert " --hang 3 --resume auto" in last
    assert all(worker.code is not None for worker in watch.workers)


@pytest.mark.parametrize("hang", [0, 2])
def test_what_takes_long_outside_of_training_is_no_hang(tmp_path, hang):
    pulse = "pulse = os.environ['MS_EFF_PULSE']; open(pulse, 'w').close()\n"
    # steps that take 0.3 s, then something else that takes longer than the limit
    steps = "for _ in range(5): time.sleep(0.3); os.utime(pulse)\n"
    after = "os.unlink(pulse)\ntime.sleep(3)\n" if hang else ""
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / ".rank_1.pulse").touch()  # of an earlier job
    assert Supervisor(job(tmp_path, SCRIPT + pulse + steps + after, hang=hang)).run() == 0
