"""export.sh: the command it builds, and the job it does on a real run."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.test_cli import CONFIG

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = ROOT / "ascend_scripts"
BIN = Path(sys.executable).parent
# this checkout's package, whichever the environment has installed
VARIABLES = {
    **os.environ,
    "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
    "PYTHONPATH": str(ROOT),
}


def call(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return run(folder, SCRIPTS / "export.sh", *words)


def run(folder: Path, *command: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, cwd=folder, env=VARIABLES)


@pytest.fixture
def folder(tmp_path) -> Path:
    place = tmp_path / "a folder"
    place.mkdir()
    (place / "my job.yaml").write_text(CONFIG.replace("OUT", "my run"))
    return place


def test_flags_become_settings(folder):
    words = ["--config", "my job.yaml", "--stage=dense", "--formats", "onnx", "--batch", "8"]
    words += ["--dynamic-batch", "--fold-norms", "--aipp", "--device", "cpu", "--dry-run"]
    done = call(folder, *words, "--", "output=runs/a b", "export.tolerance=1e-3")
    assert done.returncode == 0, done.stderr
    program, *found = shlex.split(done.stdout)
    assert Path(program).name == "ms-eff"
    assert found == [
        "export", "my job.yaml", "--stage", "dense", "--device", "cpu", "--aipp",
        "export.formats=[onnx]", "export.batch_size=8", "export.dynamic_batch=true",
        "export.fold_norms=true", "output=runs/a b", "export.tolerance=1e-3",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "--config is needed"),
        (["--config", "no.yaml"], "--config no.yaml: no such file"),
        (["--config"], "--config: a value is missing"),
        (["--config", "my job.yaml", "--formats", "om"], "--formats: 'om', expected mindir,onnx"),
        (
            ["--config", "my job.yaml", "--batch", "0"],
            "--batch: '0', expected a whole number from 1",
        ),
        (["my job.yaml"], "'my job.yaml': no such flag"),
        (["--aipp=no"], "--aipp: it takes no value"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(folder, words, message):
    done = call(folder, *words)
    assert done.returncode == 2
    assert message in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.slow
def test_from_a_checkpoint_to_what_the_board_takes(folder):
    """Train, export with AIPP, look into the graph, convert (dry), predict: README's steps."""
    ms_eff, made = BIN / "ms-eff", folder / "my run" / "export"
    done = run(folder, ms_eff, "train", "my job.yaml")
    assert done.returncode == 0, done.stderr
    done = call(folder, "--config", "my job.yaml", "--aipp", "--dynamic-batch")
    assert done.returncode == 0, done.stderr
    names = {path.name for path in made.iterdir()}
    assert {"aipp.cfg", "fine-tuned.onnx", "fine-tuned.mindir"} <= names
    for name in ("fine-tuned.onnx", "fine-tuned.mindir"):
        words = ["doctor", "--graph", made / name, "--target", "ascend310p", "--json"]
        done = run(folder, ms_eff, *words)
        assert done.returncode == 0, done.stdout + done.stderr
        assert json.loads(done.stdout)["stopped"] is False
    words = ["--model", made / "fine-tuned.onnx", "--input-shape", "input:1,1,8,8", "--dry-run"]
    words += ["--aipp", made / "aipp.cfg", "--dynamic-batch", "1,8"]
    done = run(folder, SCRIPTS / "convert_om.sh", *words)
    assert done.returncode == 0, done.stderr
    assert "--input_shape=input:-1,1,8,8" in done.stdout
    (folder / "in").mkdir()
    for index in range(3):
        np.save(folder / "in" / f"{index}.npy", np.full((1, 8, 8), 80 * index, np.uint8))
    words = ["--runtime", "mindspore", "--model", made / "fine-tuned.mindir", "--input", "in"]
    done = run(folder, sys.executable, SCRIPTS / "infer_310" / "infer.py", *words, "--batch", "2")
    assert done.returncode == 0, done.stderr
    assert [line.split(",")[0] for line in done.stdout.splitlines()] == [
        "file", "0.npy", "1.npy", "2.npy",
    ]  # fmt: skip
