"""Seconds over several calls."""

from __future__ import annotations

import contextlib
import json
import time
from pathlib import Path

import pytest

from ms_eff.bench.stopwatch import Stopwatch
from ms_eff.errors import CheckpointError


def test_a_later_call_goes_on_from_where_one_was_stopped(tmp_path: Path) -> None:
    path = tmp_path / "run" / "seconds.json"
    with contextlib.suppress(KeyboardInterrupt), Stopwatch(path):
        time.sleep(0.05)
        raise KeyboardInterrupt
    kept = json.loads(path.read_text())["seconds"]
    assert kept >= 0.05
    time.sleep(0.1)  # between the calls nothing counts
    with Stopwatch(path) as watch:
        first = watch.lap("one")
        time.sleep(0.02)
        assert watch.lap("one") == first
    assert kept <= first < kept + 0.1
    assert json.loads(path.read_text())["laps"] == {"one": first}


def test_what_is_killed_has_left_its_seconds(tmp_path: Path) -> None:
    path = tmp_path / "seconds.json"
    with Stopwatch(path, every=0.01):
        deadline = time.monotonic() + 30
        while not path.exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        assert json.loads(path.read_text())["seconds"] > 0


def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "seconds.json").write_text("{")
    with pytest.raises(CheckpointError, match="not valid JSON"):
        Stopwatch(tmp_path / "seconds.json")
