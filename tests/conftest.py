"""Every test runs in graph mode on the CPU, with the kernel choice that `ms_eff` itself makes."""

from __future__ import annotations

import os
import resource
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from ms_eff import cli, runtime

runtime.prepare_cpu()
# mindformers writes its log to the working directory unless told otherwise
os.environ.setdefault("LOG_MF_PATH", tempfile.gettempdir())

import mindspore as ms  # noqa: E402  (the environment must be set first)

ms.set_context(mode=ms.GRAPH_MODE)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave to the gate what takes seconds, and to the night its parameters that are slow anyway.

    `-m "not slow"` is for between two edits.
    """
    for item in items:
        if Path(__file__).parent in item.path.parents and item.get_closest_marker("gate"):
            item.add_marker("nightly" if item.get_closest_marker("slow") else "slow")


@pytest.fixture(autouse=True)
def _no_gradient_left_open() -> None:
    """Each test begins as a process does; some stop a gradient half-way on purpose."""
    runtime.close_gradients()


@pytest.fixture
def small_disk() -> Callable[[int], AbstractContextManager[None]]:
    """Return a context in which the system refuses to write past that many bytes of a file."""

    @contextmanager
    def limit(size: int) -> Iterator[None]:
        _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))

    return limit


@pytest.fixture
def call(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str, str]]:
    """Run `ms-eff` in this process: (exit code, standard output, standard error)."""
    monkeypatch.setattr(cli, "own_signals", lambda: None)  # pytest keeps its own Ctrl-C
    monkeypatch.setenv("COLUMNS", "160")

    def run(*words: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["ms-eff", *map(str, words)])
        code = 0
        try:
            cli.main()
        except SystemExit as end:
            code = int(end.code or 0)
        said = capsys.readouterr()
        return code, said.out, said.err

    return run
