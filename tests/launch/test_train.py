"""Training through `train.sh` itself, on a CPU: a worker dies, the job ends, another goes on."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ms_eff.launch.guard import started_at
from tests.launching import ROOT

SCRIPT = ROOT / "ascend_scripts" / "train.sh"
CONFIG = """
model: {name: vit, image_size: 8, patch_size: 4, dim: 12, depth: 1, heads: 2}
data: {name: digits, global_batch_size: 32, train_limit: 320, test_limit: 64, eval_batch_size: 32}
train: {optimizer: sgd, lr: 0.01, epochs: %d, save_every_steps: 5, eval_every: 1000}
"""


class Call:
    """A call of `train.sh` in a folder with a space in its name."""

    def __init__(self, folder: Path, epochs: int) -> None:
        self.folder = folder / "a run"
        self.folder.mkdir(exist_ok=True)
        (self.folder / "my config.yaml").write_text(CONFIG % epochs)
        self.environment = {**os.environ, "PYTHON": sys.executable}

    def start(self, *words: object) -> subprocess.Popen[str]:
        command = [
            SCRIPT,
            "--config",
            "my config.yaml",
            "--device",
            "cpu",
            "--output",
            "out",
            *words,
        ]
        return self.started([str(word) for word in command])

    def started(self, command: list[str]) -> subprocess.Popen[str]:
        return subprocess.Popen(
            command, cwd=self.folder, env=self.environment, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip

    def checkpoints(self) -> list[int]:
        found = (self.folder / "out" / "train" / "checkpoints").glob("step-*")
        return sorted(int(path.name.removeprefix("step-")) for path in found)

    def workers(self, launcher: int) -> dict[int, int]:
        """Return rank -> process id of the launcher's workers."""
        found = {}
        for path in Path("/proc").glob("[0-9]*"):
            try:
                parent = int((path / "stat").read_text().rpartition(")")[2].split()[1])
                if parent == launcher:
                    text = (path / "environ").read_bytes().decode().split("\0")
                    variables = dict(x.split("=", 1) for x in text if "=" in x)
                    if variables.get("MS_ROLE") == "MS_WORKER":
                        found[int(variables["RANK_ID"])] = int(path.name)
            except OSError:
                continue
        return found

    def wait_for(self, condition, process: subprocess.Popen[str], limit: float = 120) -> None:
        until = time.monotonic() + limit
        while not condition():
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < until
            time.sleep(0.1)


@pytest.mark.gate
def test_a_killed_worker_ends_the_job_and_the_printed_command_goes_on(tmp_path):
    call = Call(tmp_path, epochs=100)
    job = call.start("--nproc", 2)
    call.wait_for(lambda: len(call.checkpoints()) > 1, job)
    workers = call.workers(job.pid)
    killed = time.monotonic()
    os.kill(workers[1], signal.SIGKILL)
    out, said = job.communicate(timeout=60)
    assert time.monotonic() - killed < 60
    assert job.returncode == 1
    last = said.splitlines()[-1]
    assert last.startswith("train.sh: rank 1 of 2 was killed by SIGKILL; log: ")
    assert not call.workers(job.pid)
    before = call.checkpoints()[-1]
    step = max(map(int, re.findall(r"step (\d+)/", out)), default=0)
    assert before % 5 == 0

    resume = last.partition("resume with: ")[2]
    again = call.started(["bash", "-c", f"cd / && {resume.replace('&& ', '&& exec ', 1)}"])
    call.wait_for(lambda: call.checkpoints()[-1:] > [before + 5], again)
    again.send_signal(signal.SIGTERM)  # and now as it should be
    out, said = again.communicate(timeout=60)
    assert again.returncode == 143, said
    assert f"step-{before:08d} (step {before})" in said + out  # nothing but the last steps was lost
    assert step <= before + 10
    last = said.splitlines()[-1]
    assert last.startswith("train.sh: stopped by SIGTERM; resume with: ")
    saved = call.checkpoints()[-1]
    assert (
        json.loads(
            (call.folder / f"out/train/checkpoints/step-{saved:08d}/state.json").read_text()
        )["step"]
        == saved
    )


@pytest.mark.slow
def test_a_worker_that_hangs_ends_the_job(tmp_path):
    call = Call(tmp_path, epochs=1000)
    job = call.start("--nproc", 2, "--hang", 20)
    call.wait_for(lambda: len(call.checkpoints()) > 1, job)
    os.kill(call.workers(job.pid)[1], signal.SIGSTOP)
    _, said = job.communicate(timeout=90)
    assert job.returncode == 1
    last = said.splitlines()[-1]
    expected = "train.sh: no step was finished for 20 s by rank 0, rank 1 (stopped by a signal); "
    assert last.startswith(expected)
    assert "--hang 20" in last.partition("resume with: ")[2]
    assert not call.workers(job.pid)


@pytest.mark.slow
def test_two_hosts_train_together_and_one_finishes_what_they_began(tmp_path):
    call = Call(tmp_path, epochs=2)
    port = 20_000 + os.getpid() % 20_000
    common = ("--nnodes", 2, "--master-addr", "127.0.0.1", "--master-port", port)
    hosts = [call.start(*common, "--nproc", 2, "--node-rank", rank) for rank in (0, 1)]
    said = [host.communicate(timeout=200) for host in hosts]
    assert [host.returncode for host in hosts] == [0, 0], said
    results = json.loads((call.folder / "out" / "results.json").read_text())
    assert results["stages"]["trained"]["curve"][-1]["step"] == 20
    alone = call.start()
    out, said = alone.communicate(timeout=200)
    assert alone.returncode == 0
    assert "already trained" in out + said


@pytest.mark.slow
def test_four_workers_train_on_one_host(tmp_path):
    call = Call(tmp_path, epochs=2)
    job = call.start("--nproc", 4)
    out, said = job.communicate(timeout=280)
    assert job.returncode == 0, said
    results = json.loads((call.folder / "out" / "results.json").read_text())
    assert results["stages"]["trained"]["curve"][-1]["step"] == 20
    logs = sorted(path.name for path in (call.folder / "out" / "logs").glob("*/*.log"))
    assert logs == ["rank_0.log", "rank_1.log", "rank_2.log", "rank_3.log", "scheduler.log"]
    assert "trained: " in out
    assert not call.workers(job.pid)


@pytest.mark.slow
def test_a_host_that_waits_for_another_stops_at_once(tmp_path):
    call = Call(tmp_path, epochs=2)
    port = 20_000 + os.getpid() % 20_000
    hosts = ("--nnodes", 2, "--master-addr", "127.0.0.1", "--master-port", port)
    host = call.start(*hosts, "--node-rank", 0)
    call.wait_for(lambda: len(call.workers(host.pid)) == 1, host)
    time.sleep(20)  # until MindSpore waits: nothing tells when
    host.send_signal(signal.SIGTERM)
    asked = time.monotonic()
    _, said = host.communicate(timeout=60)
    assert time.monotonic() - asked < 60  # not the grace of 120 s
    assert host.returncode == 143
    assert "stopped by SIGTERM, when there was nothing to save" in said.splitlines()[-1]
    assert (call.folder / "out" / ".failed-host-0.txt").exists()


@pytest.mark.slow
def test_a_launcher_that_is_killed_lets_its_workers_save(tmp_path):
    call = Call(tmp_path, epochs=100)
    job = call.start("--nproc", 2)
    call.wait_for(lambda: len(call.checkpoints()) > 1, job)
    workers = call.workers(job.pid)
    job.kill()
    job.communicate()
    until = time.monotonic() + 60
    while any(started_at(pid) for pid in workers.values()) and time.monotonic() < until:
        time.sleep(0.1)
    assert not any(started_at(pid) for pid in workers.values())
    for log in (call.folder / "out" / "logs").glob("*/rank_*.log"):
        said = log.read_text()
        assert "stopped by SIGTERM; saved" in said
        assert f"{SCRIPT} --config 'my config.yaml' --nproc 2" in said  # the job's, not a worker's
