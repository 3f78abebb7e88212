"""SAM on two workers equals SAM on one with the same batch."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[3]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.mark.slow
def test_two_workers_climb_along_the_gradient_of_both(tmp_path) -> None:
    script = [str(Path(__file__).with_name("worker.py")), str(tmp_path)]
    here = Path(sys.executable).parent
    launcher = [
        *(str(here / "msrun"), "--worker_num=2", "--local_worker_num=2"),
        *(f"--master_port={_free_port()}", "--join=True", f"--log_dir={tmp_path / 'logs'}"),
    ]
    path = f"{here}{os.pathsep}{os.environ.get('PATH', '')}"  # msrun starts whatever `python` is
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PATH": path}
    for command in ([sys.executable, *script], [*launcher, *script]):
        done = subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300
        )
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    one, two = (np.load(tmp_path / f"weights{count}.npz") for count in (1, 2))
    for name in one.files:
        np.testing.assert_allclose(two[name], one[name], atol=1e-5, err_msg=name)
