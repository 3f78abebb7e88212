from __future__ import annotations

import time
from pathlib import Path

import pytest

from ms_eff.launch import beats
from ms_eff.launch.arguments import LaunchOptions
from ms_eff.launch.beats import Beats
from ms_eff.launch.job import Job
from ms_eff.runtime import DeviceSettings


@pytest.fixture
def clock(monkeypatch):
    """A clock that stands still but for what the test adds to it."""

    class Clock:
        now = 1000.0

        def monotonic(self) -> float:
            return self.now

        def time_ns(self) -> int:
            return time.time_ns()

    found = Clock()
    monkeypatch.setattr(beats, "time", found)
    return found


def host(folder: Path, rank: int, hosts: int = 2, nproc: int = 2, port: int = 8118) -> Beats:
    options = LaunchOptions(Path("c.yaml"), nproc=nproc, nnodes=hosts, node_rank=rank)
    return Beats(Job(options, "train", DeviceSettings(), folder, port, folder, ("train.sh",)))


def test_hosts_that_give_signs_are_well(tmp_path, clock):
    first, second = host(tmp_path, 0), host(tmp_path, 1)
    for _ in range(40):
        clock.now += 3
        assert first.look() is None
        assert second.look() is None


def test_one_that_stops_giving_them_is_lost(tmp_path, clock):
    first, second, third = (host(tmp_path, rank, 3) for rank in range(3))
    said = []
    for turn in range(20):
        clock.now += 3
        said.append(first.look())
        third.look()
        if turn < 2:
            second.look()
    assert said.count(None) == 18  # 45 s and what it takes to notice
    assert said[-1] == "host 1 (ranks 2 to 3) gave no sign of life for 45 s"


def test_the_others_listen_to_the_first(tmp_path, clock):
    first, second = host(tmp_path, 0, nproc=1), host(tmp_path, 1, nproc=1)
    clock.now += 3
    first.look()
    said = None
    for _ in range(20):
        clock.now += 3
        said = second.look()
    assert said == "host 0 (rank 0) gave no sign of life for 45 s"


def test_who_stood_still_itself_blames_nobody(tmp_path, clock):
    first, second = host(tmp_path, 0), host(tmp_path, 1)
    for _ in range(3):
        clock.now += 3
        second.look()
        first.look()
    clock.now += 3600  # a disk that hangs, a machine that sleeps
    assert first.look() is None
    clock.now += 3
    second.look()
    assert first.look() is None


def test_one_that_has_ended_is_not_lost(tmp_path, clock):
    first, second = host(tmp_path, 0), host(tmp_path, 1)
    second.look()
    first.look()
    before = first.taken()
    second.end()
    for _ in range(40):
        clock.now += 3
        assert first.look() is None
    assert first.silent(before) is None
    assert first.silent(first.taken()) is None


def test_files_of_an_earlier_job_are_nobody(tmp_path, clock):
    host(tmp_path, 1).look()
    first = host(tmp_path, 0)
    for _ in range(40):
        clock.now += 3
        assert first.look() is None
    assert first.absent() == "nothing was heard of host 1 (ranks 2 to 3)"
    assert first.silent(first.taken()) is None


def test_hosts_that_were_started_otherwise_are_told(tmp_path, clock):
    first, second = host(tmp_path, 0), host(tmp_path, 1, port=9000)
    second.look()
    said = first.look()
    assert "host 1 was started with --nnodes 2 --nproc 2 --master-port 9000" in said
    assert "host 0 with --nnodes 2 --nproc 2 --master-port 8118" in said


def test_one_host_alone_writes_nothing(tmp_path, clock):
    alone = host(tmp_path, 0, hosts=1)
    assert alone.look() is None
    alone.end()
    assert list(tmp_path.iterdir()) == []
