"""Training between steps."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mindspore import nn
from rich.console import Console

import ms_eff
from ms_eff.errors import ConfigError
from ms_eff.methods.progressive.family import Family
from ms_eff.methods.progressive.recovery import Recovery
from ms_eff.methods.progressive.scoring import Judge
from ms_eff.models.shards import Shards
from ms_eff.runtime import PULSE_VARIABLE, Worker
from ms_eff.train.interrupt import Interrupted, Stopped
from tests.methods.progressive.conftest import family_config

QUIET = Console(quiet=True)


def trained(
    parent: Path, output: Path, step: str, ratios: tuple[float, ...] = (1.25, 2.0), **more: Any
) -> Family:
    method = {"ratios": ratios, "tokens": 64, "step": step}
    method |= {"allocation": "uniform", "rule": "plain"}
    return Family(family_config(parent, output, method=method, **more), console=QUIET)


@pytest.mark.gate
def test_training_helps_and_steps_fall(
    parent: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pulse, alive = tmp_path / "pulse", []
    monkeypatch.setenv(PULSE_VARIABLE, str(pulse))
    step = Recovery._step
    # what the last step left behind, for `train.sh`
    monkeypatch.setattr(
        Recovery, "_step", lambda self, number: (alive.append(pulse.exists()), step(self, number))
    )
    family = trained(parent, tmp_path / "out", "w1_only")
    rows = family.run()
    assert alive == [number > 0 for _ in rows for number in range(len(alive) // 2)]
    assert not pulse.exists()
    assert [row["trained_tokens"] for row in rows] == [64, 128]
    for index, row in enumerate(rows):
        member, before = Shards(family.folder.of(index)), Shards(family.folder.of(index, "steps"))
        assert member.names() == before.names()
        assert row["last_train_loss"] > 0
    one, two = (Shards(family.folder.of(i)) for i in (0, 1))
    layer = "model.layers.0.mlp.down_proj"
    # the paper's step: what is truncated is the trained second factor
    start = Shards(family.folder.of(1, "steps"))
    W1 = one.array(f"{layer}.last.weight").astype(np.float64)
    U, sigma, V = np.linalg.svd(W1, full_matrices=False)
    rank = len(two.array(f"{layer}.first.weight"))
    expected = (U[:, :rank] * sigma[:rank]) @ V[:rank] @ one.array(f"{layer}.first.weight")
    found = start.array(f"{layer}.last.weight") @ start.array(f"{layer}.first.weight")
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert rank < W1.shape[1]


@pytest.mark.slow  # three compiled trainings
def test_a_stopped_run_ends_as_one_that_was_not(
    parent: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = trained(parent, tmp_path / "whole", "joint", (2.0,), recovery={"save_every": 100})
    whole.run()
    original = Recovery._step

    def stopping(self: Recovery, number: int) -> None:
        original(self, number)
        if number == 1:
            signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr(Recovery, "_step", stopping)
    with pytest.raises(Interrupted):
        trained(parent, tmp_path / "cut", "joint", (2.0,)).run()
    monkeypatch.setattr(Recovery, "_step", original)
    cut = trained(parent, tmp_path / "cut", "joint", (2.0,))
    cut.run()
    expected, found = Shards(whole.folder.of(0)), Shards(cut.folder.of(0))
    for name in expected.names():
        np.testing.assert_array_equal(found.array(name), expected.array(name))


def test_workers_share_batches_evenly(parent: Path, tmp_path: Path) -> None:
    wanted = family_config(parent, tmp_path).recovery
    with pytest.raises(ConfigError, match=r"recovery\.batch = 2: does not share out over 3"):
        Recovery(None, None, wanted, 1, tmp_path, worker=Worker(0, 3))


@pytest.mark.gate
@pytest.mark.parametrize("precision", ["O0", "O3"])
def test_what_was_trained_is_not_lost_while_it_is_judged_and_is_judged_in_float32(
    parent: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, precision: str
) -> None:
    settings = {"save_every": 100, "precision": precision}
    score, steps = Judge.score, []
    step = Recovery._step
    monkeypatch.setattr(
        Recovery, "_step", lambda self, number: (steps.append(number), step(self, number))
    )

    def stopped(self: Judge, network: nn.Cell) -> dict[str, Any]:
        raise Stopped(signal.SIGTERM)

    monkeypatch.setattr(Judge, "score", stopped)
    with pytest.raises(Stopped):
        trained(parent, tmp_path, "joint", (2.0,), recovery=settings).run()
    assert steps == [0, 1, 2, 3]
    monkeypatch.setattr(Judge, "score", score)
    family = trained(parent, tmp_path, "joint", (2.0,), recovery=settings)
    (row,) = family.run()
    assert steps == [0, 1, 2, 3]  # no batch again
    loaded = ms_eff.load_language_model(family.folder.of(0))
    assert family.judge.score(loaded)["loss"] == pytest.approx(row["loss"], rel=1e-6)
