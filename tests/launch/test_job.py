"""What `train.sh --dry-run` says: the script itself, from elsewhere, with spaces in paths."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ms_eff.errors import ConfigError
from ms_eff.launch.arguments import LaunchOptions
from ms_eff.launch.job import check_cards, make_job
from tests.launch.test_rank_table import table
from tests.launching import ROOT

SCRIPT = ROOT / "ascend_scripts" / "train.sh"
CONFIG = "model: {name: resnet18}\ndata: {name: digits}\noutput: runs/a b\n"


@pytest.fixture
def call(tmp_path):
    """Call the script as a user does, and return the finished process."""
    folder = tmp_path / "a folder"
    folder.mkdir()
    (folder / "my config.yaml").write_text(CONFIG + "device: {hccl: {exec_timeout: 3600}}\n")

    def run(*words: object, **variables: str) -> subprocess.CompletedProcess[str]:
        clean = {k: v for k, v in os.environ.items() if not k.startswith(("MS_", "RANK", "HCCL"))}
        environment = {**clean, "PYTHON": sys.executable, **variables}
        command = [str(SCRIPT), "--config", "my config.yaml", *map(str, words)]
        return subprocess.run(
            command, cwd=folder, env=environment, capture_output=True, text=True, timeout=60
        )

    return run


def exports(text: str) -> dict[str, str]:
    lines = [shlex.split(x)[1] for x in text.splitlines() if x.startswith("export ")]
    return dict(line.split("=", 1) for line in lines)


def msrun_words(text: str) -> list[str]:
    return shlex.split(next(x for x in text.splitlines() if x.startswith("msrun ")))


def test_one_host(call):
    done = call("--nproc", 8, "--dry-run", "--device", "cpu", "--", "train.epochs=3")
    assert (done.returncode, done.stderr) == (0, "")
    found = exports(done.stdout)
    assert (found["MS_WORKER_NUM"], found["RANK_SIZE"]) == ("8", "8")
    assert found["MS_SCHED_HOST"] == "127.0.0.1"
    assert found["HCCL_EXEC_TIMEOUT"] == "3600"  # of the config
    words = msrun_words(done.stdout)
    assert {"--worker_num=8", "--local_worker_num=8", "--join=True"} <= set(words)
    assert f"--master_port={found['MS_SCHED_PORT']}" in words
    script = next(i for i, word in enumerate(words) if word.endswith("worker.py"))
    assert words[script + 1 :] == ["train", "my config.yaml", "train.epochs=3", "--device", "cpu"]
    assert "MS_NODE_ID=RANK_ID=0..7, DEVICE_ID=0..7" in done.stdout
    assert "MS_SCHED): on this host" in done.stdout
    there, back, *resume = shlex.split(found["MS_EFF_COMMAND"])[1:]
    assert (Path(there).name, back) == ("a folder", "&&")  # it works from any folder
    expected = [str(SCRIPT), "--config", "my config.yaml", "--nproc", "8", "--device", "cpu"]
    assert resume == [*expected, "--resume", "auto", "--", "train.epochs=3"]


def test_many_hosts_and_a_rank_table(call, tmp_path):
    path = tmp_path / "rank table.json"
    path.write_text(json.dumps(table(2, 4)))
    hosts = ("--nproc", 4, "--nnodes", 2, "--node-rank", 1, "--master-addr", "10.0.0.1")
    done = call(*hosts, "--rank-table", path, "--dry-run", HCCL_EXEC_TIMEOUT="99")
    assert (done.returncode, done.stderr) == (0, "")
    found, words = exports(done.stdout), set(msrun_words(done.stdout))
    assert (found["MS_WORKER_NUM"], found["MS_SCHED_PORT"]) == ("8", "8118")
    assert found["RANK_TABLE_FILE"] == str(path)
    assert found["HCCL_EXEC_TIMEOUT"] == "99"  # the user's own wins
    assert {"--worker_num=8", "--local_worker_num=4", "--node_rank=1"} <= words
    assert {"--master_addr=10.0.0.1", f"--rank_table_file={path}"} <= words
    assert "RANK_ID=4..7, DEVICE_ID=0..3" in done.stdout
    assert "MS_SCHED): on 10.0.0.1, port 8118" in done.stdout


def test_one_worker_needs_no_launcher(call):
    done = call("--dry-run", "--resume", "never", "--output", "runs/other one")
    assert done.returncode == 0
    assert "MS_WORKER_NUM" not in exports(done.stdout)
    last = "ms-eff train 'my config.yaml' 'output=runs/other one' --fresh"
    assert last in done.stdout.splitlines()
    assert "--grace" not in done.stdout
    patient = call("--dry-run", "--grace", 300, "--timeout", 900).stdout
    assert "--grace 300 --timeout 900 --resume auto" in patient
    resume = exports(done.stdout)["MS_EFF_COMMAND"]
    assert "never" not in resume  # that would forget what there is to resume
    assert "logs: runs/other one/logs/" in done.stdout.replace("\\ ", " ")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--dry-run", "--", "train.epocs=3"), "unknown key 'train.epocs' (did you mean 'epochs'"),
        (("--nprocs", "2"), "unknown flag '--nprocs'"),
        (("--rank-table", "none.json"), "none.json: cannot be read"),
    ],
)
def test_a_mistake_is_one_line_and_code_2(call, words, said):
    done = call(*words)
    assert done.returncode == 2
    assert said in done.stderr
    assert done.stderr.startswith("train.sh: ")
    assert done.stderr.count("\n") == 1


def test_a_family_of_language_models_is_compressed():
    config = ROOT / "configs" / "progressive" / "llama2_7b_ascend.yaml"
    job = make_job(LaunchOptions(config), ("train.sh",))
    assert job.arguments[0] == "compress"


@pytest.mark.gate
def test_a_mistake_on_one_host_is_told_to_the_others(call, tmp_path):
    """They would wait for it until --timeout."""
    hosts = ("--nproc", 4, "--nnodes", 2, "--node-rank", 1, "--master-addr", "10.0.0.1")
    folder = tmp_path / "a folder" / "runs"

    def mark(output: str) -> str:
        return (folder / output / ".failed-host-1.txt").read_text()

    assert call(*hosts, "--dry-run", "--", "train.epocs=3").returncode == 2
    assert not folder.exists()
    assert call(*hosts, "--", "train.epocs=3").returncode == 2
    assert "unknown key 'train.epocs'" in mark("a b")  # the config's
    call(*hosts, "--rank-table", "none.json", "--", "output=runs/c")
    assert mark("c").startswith("none.json: cannot be read")
    call(*hosts, "--config", "none.yaml", "--output", "runs/d")
    assert mark("d").startswith("none.yaml: cannot be read")
    (folder / "logs").touch()
    call(*hosts, "--output", "runs/e", "--log-dir", "runs/logs")
    assert "--log-dir runs/logs: cannot be written" in mark("e")


def test_one_host_alone_leaves_no_mark(call, tmp_path):
    assert call("--nproc", 2, "--", "train.epocs=3").returncode == 2
    assert not (tmp_path / "a folder" / "runs").exists()


def test_workers_that_share_cores_are_told(call):
    cores = len(os.sched_getaffinity(0))
    said = call("--nproc", cores + 1, "--dry-run", "--device", "cpu").stdout
    assert f"# {cores + 1} workers share {cores} cores" in said
    assert " share " not in call("--nproc", cores, "--dry-run", "--device", "cpu").stdout


def test_more_workers_than_cards_are_refused(tmp_path):
    for card in ("davinci0", "davinci1", "davinci_manager"):
        (tmp_path / card).touch()
    check_cards(2, "ascend", tmp_path)
    check_cards(8, "cpu", tmp_path)
    check_cards(8, "ascend", tmp_path / "no driver")  # a worker says what is missing
    with pytest.raises(ConfigError, match=r"--nproc 3: this host has 2 card\(s\)"):
        check_cards(3, "auto", tmp_path)


def test_a_signal_before_the_job_starts_is_one_line(tmp_path):
    ready = tmp_path / "ready"
    table = tmp_path / "table.json"
    os.mkfifo(table)  # reading it waits
    (tmp_path / "c.yaml").write_text(CONFIG)
    script = (
        "import sys, pathlib; from ms_eff.launch import __main__ as launch, job\n"
        "checked = job.check_cards\n"
        f"job.check_cards = lambda *a: (checked(*a), pathlib.Path({str(ready)!r}).touch())\n"
        "sys.exit(launch.main(sys.argv[1:]))"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script, "--config", "c.yaml", "--rank-table", table],
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)},
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    until = time.monotonic() + 60
    while not ready.exists() and time.monotonic() < until:
        time.sleep(0.05)
    process.terminate()
    _, said = process.communicate(timeout=20)
    assert process.returncode == 143
    assert said == "train.sh: stopped by SIGTERM before anything was started; call it again\n"
