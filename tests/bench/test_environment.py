from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta

import mindspore as ms
import pytest

from ms_eff.bench import environment


def test_versions_device_and_date():
    found = environment.describe(command=["ms-eff", "bench"], seed=7)
    assert found["versions"]["mindspore"] == ms.__version__
    assert found["cores"] >= 1
    assert found["isa"] == os.environ.get("ONEDNN_MAX_CPU_ISA", "native")
    assert found["mode"] == "graph"
    assert (found["seed"], found["command"]) == (7, "ms-eff bench")
    age = datetime.now(UTC) - datetime.fromisoformat(found["date"])
    assert timedelta(0) <= age < timedelta(minutes=1)


def test_nothing_of_this_machine_gets_in():
    command = ["/home/me/bin/ms-eff", "train", "configs/a.yaml", "data.root=/mnt/disk/cifar"]
    found = environment.describe(command)
    assert found["command"] == "ms-eff train configs/a.yaml data.root=cifar"
    text = json.dumps(found)
    assert os.getcwd() not in text


@pytest.mark.parametrize("dirty", [False, True])
def test_commit_of_a_checkout(tmp_path, monkeypatch, dirty):
    def git(*arguments):
        return subprocess.run(
            ["git", "-c", "user.name=a", "-c", "user.email=a@b", *arguments],
            cwd=tmp_path,
            check=True,
            capture_output=True,
            text=True,
        ).stdout.strip()

    git("init")
    git("commit", "--allow-empty", "-m", "first")
    if dirty:
        (tmp_path / "new").touch()
    module = tmp_path / "ms_eff" / "bench" / "environment.py"
    monkeypatch.setattr(environment, "__file__", str(module))
    found = environment.describe()
    assert (found["commit"], found["dirty"]) == (git("rev-parse", "HEAD"), dirty)


@pytest.mark.parametrize("obstacle", ["no checkout", "no git"])
def test_no_commit_where_there_is_none(tmp_path, monkeypatch, obstacle):
    monkeypatch.setattr(environment, "__file__", str(tmp_path / "a" / "b" / "c.py"))
    if obstacle == "no git":
        (tmp_path / ".git").mkdir()
        monkeypatch.setenv("PATH", str(tmp_path))
    found = environment.describe()
    assert (found["commit"], found["dirty"]) == (None, None)


def test_describing_imports_no_mindspore():
    code = (
        "import sys; from ms_eff.bench.environment import describe; "
        "print(describe()['mode'], 'mindspore' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["None", "False"]
