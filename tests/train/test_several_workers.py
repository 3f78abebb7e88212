"""Several workers, through MindSpore's own launcher, do what one does with the same samples a step.

All cases of a number of workers share one job, whose start takes longer than they do.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ms_eff.errors import CheckpointError
from ms_eff.runtime import Worker
from tests.launching import msrun
from tests.train import job

SCRIPT = Path(job.__file__)
QUICK = ("sgd", "adamw", "stopped", "apart", "taken_up")
REST = ("adamw_norm", "freeze", "sam", "swiftlearn", "skipvit", "rail", "own_norms")
ALONE = Worker()
# sums in another order, over 20 steps
CLOSE = 1e-5


def assert_alike(several: Path, one: dict[str, np.ndarray]) -> None:
    found = np.load(several)
    assert set(found.files) == set(one)
    for name, array in one.items():
        np.testing.assert_allclose(found[name], array, atol=CLOSE, rtol=CLOSE, err_msg=name)


@pytest.fixture(scope="module")
def two(tmp_path_factory) -> Path:
    """Return the folder of a job of two workers; it took up a run that one had begun."""
    folder = tmp_path_factory.mktemp("two")
    job.stopping(ALONE, folder, "by_one")
    msrun(SCRIPT, folder, *QUICK, folder=folder)
    return folder


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory) -> dict[str, np.ndarray]:
    return job.taking_up(ALONE, tmp_path_factory.mktemp("whole"), "whole")


@pytest.mark.gate
@pytest.mark.parametrize("case", ["sgd", "adamw"])
def test_two_workers_equal_one(two, tmp_path, case):
    assert_alike(two / f"{case}-2.npz", job.CASES[case](ALONE, tmp_path))


@pytest.mark.gate
def test_a_signal_to_one_worker_stops_all_after_the_same_step(two):
    found = np.load(two / "stopped-2.npz")
    assert int(found["code"]) == 143
    assert str(found["saved"]) == f"step-{job.STOP_AT:08d}"
    kept = [path.name for path in (two / "by_several" / "checkpoints").iterdir()]
    assert kept == [str(found["saved"])]  # one, of rank 0


@pytest.mark.gate
def test_one_worker_goes_on_where_two_stopped(two, uninterrupted):
    found = job.taking_up(ALONE, two, "by_several")
    for name, array in uninterrupted.items():
        np.testing.assert_allclose(found[name], array, atol=CLOSE, rtol=CLOSE, err_msg=name)


@pytest.mark.gate
def test_two_workers_go_on_where_one_stopped(two, uninterrupted):
    assert_alike(two / "taken_up-2.npz", uninterrupted)


@pytest.mark.gate
def test_hosts_that_share_no_disk_are_refused(two):
    said = str(np.load(two / "apart-2.npz")["said"])
    assert f"found checkpoints of steps [{job.STOP_AT}, 0]" in said
    assert "a disk that all hosts share" in said


@pytest.mark.gate
def test_a_step_of_another_size_is_not_gone_on_with(two, monkeypatch):
    monkeypatch.setattr(job, "TOGETHER", 4)
    with pytest.raises(CheckpointError, match=r"8 samples a step.*global_batch_size=8"):
        job.stopping(ALONE, two, "by_one", at=-1)


@pytest.mark.slow
def test_two_workers_equal_one_with_every_kind_of_method(tmp_path):
    msrun(SCRIPT, tmp_path, *REST, folder=tmp_path)
    for case in REST:
        alone = tmp_path / "alone"
        assert_alike(tmp_path / f"{case}-2.npz", job.CASES[case](ALONE, alone))


@pytest.mark.slow
def test_four_workers_equal_one_and_take_up_its_run(tmp_path, uninterrupted):
    job.stopping(ALONE, tmp_path, "by_one")
    msrun(SCRIPT, tmp_path, "sgd", "adamw", "taken_up", folder=tmp_path, workers=4)
    for case in ("sgd", "adamw"):
        assert_alike(tmp_path / f"{case}-4.npz", job.CASES[case](ALONE, tmp_path / "alone"))
    assert_alike(tmp_path / "taken_up-4.npz", uninterrupted)
