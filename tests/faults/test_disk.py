"""Disks that are full, folders that take no file, and a full /dev/shm."""

import errno
import os
import signal
from concurrent.futures import BrokenExecutor
from pathlib import Path

import numpy as np
import pytest

from ms_eff.data.clip_files import ClipPlan
from ms_eff.data.video import VideoSplit
from ms_eff.errors import PlanError, SetupError, UserError
from ms_eff.methods.lowrank.plan import LayerPlan, LowRankPlan
from ms_eff.results import Results
from ms_eff.train.logs import History

ROWS = [{"epoch": n, "step": 8 * n, "train_loss": 1.0 / n} for n in range(1, 300)]


def write_history(folder: Path) -> Path:
    History(folder).write(ROWS)
    return folder / "log.csv"


def write_results(folder: Path) -> Path:
    results = Results(folder / "results.json", {"device": "cpu"}, {"seed": 0})
    results.stages["dense"] = {"curve": ROWS}
    results.write()
    return folder / "results.json"


def write_plan(folder: Path) -> Path:
    layers = tuple(LayerPlan(f"layer{n}", "dense", (10, 64), (4,)) for n in range(100))
    LowRankPlan(layers).save(folder / "plan.json")
    return folder / "plan.json"


WRITERS = [
    pytest.param(write_history, SetupError, id="history"),
    pytest.param(write_results, SetupError, id="results"),
    pytest.param(write_plan, PlanError, id="plan"),
]


@pytest.mark.parametrize(("write", "kind"), WRITERS)
def test_a_full_disk_is_one_line_and_leaves_the_old_file(tmp_path, small_disk, write, kind):
    file = write(tmp_path)
    before = file.read_bytes()
    names = sorted(p.name for p in tmp_path.iterdir())
    with small_disk(1000), pytest.raises(kind, match=f"{file.name}: cannot be written") as error:
        write(tmp_path)
    assert "\n" not in str(error.value)
    assert file.read_bytes() == before
    assert sorted(p.name for p in tmp_path.iterdir()) == names


@pytest.mark.parametrize(("write", "kind"), WRITERS)
def test_a_folder_that_takes_no_file_is_one_line(tmp_path, write, kind):
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(kind, match="cannot be written: Not a directory"):
        write(tmp_path / "file")
    with pytest.raises(kind, match="cannot be written"):
        write(tmp_path / "file" / "deeper")


@pytest.mark.parametrize("name", ["log.csv", "results.json", "plan.json"])
def test_a_folder_in_the_place_of_a_file_is_one_line(tmp_path, name):
    write = {"log.csv": write_history, "results.json": write_results, "plan.json": write_plan}[name]
    (tmp_path / name).mkdir()
    with pytest.raises(UserError, match=name):
        write(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO])
def test_what_the_system_refuses_anywhere_else_is_the_users_to_mend(call, monkeypatch, number):
    def refused(*_):
        raise OSError(number, os.strerror(number), "/results/table.html")

    monkeypatch.setattr("ms_eff.config.load_any", refused)
    code, _, told = call("train", "x.yaml")
    assert code == 2
    assert told.count("\n") == 1
    assert f"/results/table.html: {os.strerror(number)}" in told


def test_a_full_shared_memory_names_the_setting_that_needs_none(small_disk):
    split = VideoSplit(
        ["a.avi"], np.zeros(1, np.int32), ("a",), plan=ClipPlan(2, 8), processes=1
    )  # fmt: skip
    # the semaphores of a pool of processes are files of /dev/shm, and no byte fits
    with small_disk(0), pytest.raises(SetupError, match=r"/dev/shm.*data\.workers=0"):
        split.batch(np.array([0]))


def test_a_killed_process_that_decodes_videos_is_one_line(tmp_path):
    split = VideoSplit(
        [str(tmp_path / "a.avi")], np.zeros(1, np.int32), ("a",), plan=ClipPlan(2, 8), processes=1
    )  # fmt: skip
    pool = split._workers()
    os.kill(pool.submit(os.getpid).result(), signal.SIGKILL)
    with pytest.raises(SetupError, match=r"data\.workers: a process .* was killed"):
        split.batch(np.array([0]))
    with pytest.raises(BrokenExecutor):  # known before the next batch is asked for
        pool.submit(os.getpid)
    with pytest.raises(SetupError, match=r"data\.workers: a process .* was killed"):
        split.batch(np.array([0]))
