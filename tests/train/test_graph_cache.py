"""A kept graph is the same graph: another process with other weights trains as without it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from mindspore import Tensor, nn

from ms_eff.config import Config
from ms_eff.errors import SetupError
from ms_eff.train import graph_cache
from ms_eff.train.graph_cache import fingerprint, kept_graph
from tests.launching import ROOT
from tests.methods.distillation.problems import saved
from tests.train.helpers import small_net

SCRIPT = Path(__file__).with_name("cached_run.py")
INPUTS = [Tensor(np.zeros((2, 1, 8, 8), np.float32))]


class Scaled(nn.Cell):
    """Has a number, and a tensor that is a constant of its graph."""

    def __init__(self, scale, table):
        super().__init__()
        self.scale, self.table = scale, Tensor(np.array(table, np.float32))


def test_what_a_graph_is_made_of_changes_its_name():
    names = [fingerprint(Scaled(s, t), [], 0) for s, t in ((1, [1]), (2, [1]), (1, [2]))]
    net, frozen = small_net(), small_net()
    frozen.trainable_params()[0].requires_grad = False
    names += [fingerprint(net, INPUTS, 0), fingerprint(net, INPUTS, 1), fingerprint(net, [], 0)]
    names += [fingerprint(frozen, INPUTS, 0), fingerprint(net.set_train(True), INPUTS, 0)]
    assert len(set(names)) == len(names)


def test_the_values_of_weights_do_not():
    assert fingerprint(small_net(0), INPUTS, 0) == fingerprint(small_net(1), INPUTS, 0)


def test_a_place_that_cannot_be_written_is_said(tmp_path, monkeypatch):
    monkeypatch.setattr(graph_cache, "_used", False)
    (tmp_path / "file").touch()
    with pytest.raises(SetupError, match=r"device\.cache"):
        kept_graph(tmp_path / "file", small_net(), INPUTS, 0).__enter__()


def test_sinking_and_keeping_exclude_each_other():
    blocks = {"model": {"name": "resnet18"}, "data": {"name": "digits"}}
    with pytest.raises(ValueError, match=r"device\.cache keeps steps"):
        Config(**blocks, device={"cache": "kept"}, train={"sink": True})


def run(folder: Path, kept: str, *words: object) -> tuple[dict[str, np.ndarray], bool]:
    """Train in a process of its own; return what it found, and whether it took a kept graph."""
    folder.mkdir()
    done = subprocess.run(
        [sys.executable, SCRIPT, folder, kept, *map(str, words)], cwd=folder.parent,
        env={**os.environ, "PYTHONPATH": str(ROOT), "GLOG_v": "2"}, check=True,
        capture_output=True, text=True, timeout=180,
    )  # fmt: skip
    loaded = "Use the compilation cache" in done.stdout + done.stderr
    return dict(np.load(folder / "found.npz")), loaded


def assert_equal(found: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> None:
    for name, array in found.items():
        if name != "name":  # of the graph
            np.testing.assert_array_equal(array, expected[name], err_msg=name)


@pytest.mark.slow
def test_another_process_trains_the_same_with_a_kept_graph(tmp_path):
    kept = str(tmp_path / "kept")
    first, loaded = run(tmp_path / "first", kept, 0, 0.05)
    assert not loaded
    second, loaded = run(tmp_path / "second", kept, 1, 0.05)
    assert loaded
    plain, _ = run(tmp_path / "plain", "-", 1, 0.05)
    assert second["name"].tolist() == first["name"].tolist()
    assert_equal(second, plain)
    _, loaded = run(tmp_path / "other", kept, 1, 0.03)  # a number of the graph's
    assert not loaded
    assert len(list((tmp_path / "kept").iterdir())) == 2


@pytest.mark.slow
def test_a_kept_graph_is_taught_by_the_teacher_of_today(tmp_path):
    """The settings name a folder; what lies there may be another network than it was."""
    kept, teacher = str(tmp_path / "kept"), tmp_path / "teacher"
    saved(teacher, "vit", seed=7)
    first, _ = run(tmp_path / "first", kept, 0, 0.05, teacher)
    shutil.rmtree(teacher)
    saved(teacher, "vit", seed=8)
    second, loaded = run(tmp_path / "second", kept, 0, 0.05, teacher)
    assert loaded  # the values of weights are no part of a graph
    plain, _ = run(tmp_path / "plain", "-", 0, 0.05, teacher)
    assert_equal(second, plain)
    assert any((second[name] != first[name]).any() for name in second)
    shutil.rmtree(teacher)
    saved(teacher, "vit", seed=8, depth=2)
    _, loaded = run(tmp_path / "deeper", kept, 0, 0.05, teacher)
    assert not loaded
