"""A kept graph is the same graph: another process with other weights trains as without it."""

from __future__ import annotations

import os
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


@pytest.mark.slow
def test_another_process_trains_the_same_with_a_kept_graph(tmp_path):
    def run(name: str, kept: str, seed: int, rate: float) -> tuple[dict[str, np.ndarray], str]:
        folder = tmp_path / name
        folder.mkdir()
        done = subprocess.run(
            [sys.executable, SCRIPT, folder, kept, str(seed), str(rate)], cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(ROOT), "GLOG_v": "2"}, check=True,
            capture_output=True, text=True, timeout=120,
        )  # fmt: skip
        return dict(np.load(folder / "found.npz")), done.stdout + done.stderr

    kept, loaded = str(tmp_path / "kept"), "Use the compilation cache"
    first, said = run("first", kept, 0, 0.05)
    assert loaded not in said
    second, said = run("second", kept, 1, 0.05)
    assert loaded in said
    plain, _ = run("plain", "-", 1, 0.05)
    assert second.pop("name").tolist() == first["name"].tolist()
    for name, array in second.items():
        np.testing.assert_array_equal(array, plain[name], err_msg=name)
    _, said = run("other", kept, 1, 0.03)  # a number of the graph's
    assert loaded not in said
    assert len(list((tmp_path / "kept").iterdir())) == 2
