"""Video files through whole runs of `ms-eff train`, some of them damaged."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

pytest.importorskip("cv2", reason="pip install 'ms_eff[video]'")

from tests.data import damaged_worker
from tests.data.moving_squares import class_folders, ucf101
from tests.launching import msrun

CONFIG = """
output: OUT/run
model: {name: eco_lite_small, width: 4}
data: {root: OUT/videos, image_size: 16, frames: 4, batch_size: 4, eval_batch_size: 4,
       corrupt: skip}
train: {epochs: 1, lr: 0.01}
methods: [{spatiotemporal: {variant: add}}]
"""


def trained(call, folder: Path, *overrides: str) -> dict:
    """Train by the command line, and return what the results hold."""
    config = folder / "job.yaml"
    config.write_text(CONFIG.replace("OUT", str(folder)))
    code, _, told = call("train", config, *overrides)
    assert code == 0, told
    stages = json.loads((folder / "run" / "results.json").read_text())["stages"]
    assert list(stages) == ["folded", "trained"]
    before, after = (load_file(folder / "run/models" / s / "model.safetensors") for s in stages)
    assert before.keys() == after.keys()
    assert all(np.isfinite(array).all() for array in after.values())
    assert not np.array_equal(before["fc.weight"], after["fc.weight"])
    return stages


@pytest.mark.gate
def test_class_folders_with_damaged_files_are_trained_on_and_counted(call, tmp_path):
    broken = ("train/left/1.mp4", "val/right/0.avi")
    class_folders(tmp_path / "videos", train=2, test=2, broken=broken)
    data = ("data.name=video_folder", "data.workers=0")
    stages = trained(call, tmp_path, *data)
    assert math.isfinite(stages["trained"]["loss"])
    assert stages["trained"]["damaged"] == {"train": 1, "test": 1}
    assert [row["damaged"] for row in stages["trained"]["curve"]] == [1]
    assert stages["trained"]["samples"] == 3
    assert "samples" not in stages["folded"]  # an untrained network is not scored


@pytest.mark.slow
def test_ucf101_is_trained_on_by_processes_that_decode(call, tmp_path):
    broken = ("right/v_right_g03_c01.avi", "left/v_left_g01_c01.avi", "left/v_left_g07_c01.avi")
    ucf101(tmp_path / "videos", train=6, test=2, broken=broken)
    changes = (
        *("data.name=ucf101", "data.workers=1", "data.augment=crop_flip", "train.epochs=2"),
        "methods.spatiotemporal.aligned=true",
    )
    stages = trained(call, tmp_path, *changes)
    assert stages["trained"]["damaged"] == {"train": 2, "test": 1}
    assert [row["step"] for row in stages["trained"]["curve"]] == [3, 6]
    code, said, told = call("eval", tmp_path / "job.yaml", *changes)
    assert code == 0, told
    assert f"trained: accuracy {stages['trained']['accuracy']:.4f}" in said
    assert said.count("(3 samples)") == 2
    other = f"output={tmp_path / 'other'}"
    code, _, told = call("train", tmp_path / "job.yaml", *changes, other, "data.corrupt=error")
    assert code == 2  # unless one asks for it, a damaged file is an error
    assert "_c01.avi: expected a readable video" in told


@pytest.mark.slow
def test_two_workers_agree_on_what_is_damaged_though_one_has_met_nothing(tmp_path):
    broken = ("train/left/1.mp4", "val/right/0.avi")
    class_folders(tmp_path / "videos", train=4, test=2, broken=broken)
    msrun(Path(damaged_worker.__file__), tmp_path, folder=tmp_path)
    first, second = (dict(np.load(tmp_path / f"rank{rank}.npz")) for rank in (0, 1))
    assert sorted((first["met"].tolist(), second["met"].tolist())) == [[], [1]]
    for found in (first, second):
        assert found["counted"].tolist() == [1]
        assert found["now"] == 1
        assert found["scored"].tolist() == [3]
    np.testing.assert_array_equal(first["weight"], second["weight"])
