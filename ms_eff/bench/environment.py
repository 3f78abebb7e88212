"""What a recorded figure depends on: versions, device, date, seed, commit. Nothing personal."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path, PurePath
from typing import Any

from ms_eff import runtime

__all__ = ["cores", "describe"]

_PACKAGES = ("ms_eff", "mindspore", "mindformers", "numpy", "onnxruntime")


def describe(command: str | Sequence[str] | None = None, seed: int | None = None) -> dict[str, Any]:
    """Describe this process's surroundings, as JSON, for a results file.

    Host names and folders stay out: absolute paths in `command` are cut to their last part.

    Args:
        command: what was run, as one string or as its arguments.
        seed: the seed of the run.

    >>> sorted(describe(command="ms-eff bench", seed=0))
    ['command', 'commit', 'cores', 'date', 'device', 'dirty', 'isa', 'mode', 'seed', 'versions']
    """
    target, mode = _mindspore()
    return {
        "versions": _versions(),
        "device": runtime.describe_cpu() if target == "CPU" else target,
        "cores": cores() if target == "CPU" else None,
        "isa": os.environ.get(runtime.ISA_VARIABLE, "native") if target == "CPU" else None,
        "mode": mode,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": _public(command),
        "seed": seed,
        **_checkout(),
    }


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def _mindspore() -> tuple[str, str | None]:
    """Return device target and mode, without importing MindSpore where nobody has."""
    if "mindspore" not in sys.modules:
        return "CPU", None
    import mindspore as ms

    mode = "graph" if ms.get_context("mode") == ms.GRAPH_MODE else "pynative"
    return str(ms.get_context("device_target")), mode


def cores() -> int:
    """Return how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):  # not what the machine has
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _public(command: str | Sequence[str] | None) -> str | None:
    if command is None:
        return None
    words = command.split() if isinstance(command, str) else list(command)
    return " ".join(_without_folder(word) for word in words)


def _without_folder(word: str) -> str:
    """Cut an absolute path, alone or behind `key=`, to its last part.

    >>> _without_folder("data.root=/home/me/cifar"), _without_folder("configs/a.yaml")
    ('data.root=cifar', 'configs/a.yaml')
    """
    key, equals, value = word.rpartition("=")
    return key + equals + PurePath(value).name if PurePath(value).is_absolute() else word


def _checkout() -> dict[str, Any]:
    """Return commit and whether files differ from it, if the package lies in its checkout."""
    root = Path(__file__).resolve().parents[2]
    commit = _git(root, "rev-parse", "HEAD") if (root / ".git").exists() else None
    if not commit:
        return {"commit": None, "dirty": None}
    changes = _git(root, "status", "--porcelain")
    return {"commit": commit, "dirty": None if changes is None else changes != ""}


def _git(root: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(root), *arguments], capture_output=True, text=True, timeout=10
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
