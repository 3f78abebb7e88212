"""Starts worker scripts of tests through MindSpore's own launcher."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def msrun(script: Path, *words: object, folder: Path, workers: int = 2, limit: int = 280) -> None:
    """Run `script words` in so many workers; every one of them must end well.

    msrun starts whatever `python` the PATH gives, so this one comes first there.
    """
    here = Path(sys.executable).parent
    command = [
        *(sys.executable, "-m", "mindspore.parallel.cluster.run"),
        *(f"--worker_num={workers}", f"--local_worker_num={workers}"),
        *(f"--master_port={free_port()}", "--join=True", f"--log_dir={folder / 'logs'}"),
        *(str(word) for word in (script, *words)),
    ]
    environment = {
        **os.environ,
        "PATH": f"{here}{os.pathsep}{os.environ.get('PATH', '')}",
        "PYTHONPATH": str(ROOT),
        "GLOG_v": "3",
    }
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=limit
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
