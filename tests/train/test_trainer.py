import os
import signal
from pathlib import Path

import numpy as np
import pytest
from mindspore import ops

from ms_eff.errors import CheckpointError, DivergedError
from ms_eff.methods.base import Method
from ms_eff.runtime import PULSE_VARIABLE
from ms_eff.section import Section
from ms_eff.train import checkpoint
from ms_eff.train.interrupt import Interrupted
from tests.train.helpers import said, small_feed, small_net, trainer, weights


def assert_same(first, second):
    assert first.keys() == second.keys()
    for name in first:
        assert np.array_equal(first[name], second[name]), name


class StopAt(Method):
    """Sends this process a signal after a given step, as a user would."""

    name = "stop_at"
    watches_steps = True
    at, number = 8, signal.SIGTERM

    def on_step_end(self, event):
        if event.step == self.at:
            os.kill(os.getpid(), self.number)


class Watcher(Method):
    """Chooses half of the data, alternates two phases, and counts what it sees."""

    name = "watcher"
    watches_steps = True

    def __init__(self):
        super().__init__(Section())
        self.seen = np.zeros(48, np.int64)
        self.phases = []

    def phase(self, epoch):
        return "even" if epoch % 2 == 0 else "odd"

    def change_step(self, step, phase):
        self.phases.append(phase)
        return step

    def subset_size(self, epoch, size):
        return size if epoch == 0 else size // 2

    def subset(self, epoch, indices):
        return indices if epoch == 0 else indices[: len(indices) // 2]

    def on_step_end(self, event):
        self.seen[event.indices] += 1
        assert event.outputs.shape == (8, 3)

    def on_epoch_end(self, event):
        assert event.predict(np.arange(5)).shape == (5, 3)

    def state(self):
        return {"seen": self.seen}

    def load_state(self, state):
        self.seen = state["seen"].copy()


@pytest.mark.gate
def test_training_lowers_the_loss_and_records_each_epoch(tmp_path):
    run = trainer(tmp_path)
    rows = run.fit()
    assert [r["epoch"] for r in rows] == [1, 2, 3]
    assert rows[-1]["train_loss"] < rows[0]["train_loss"]
    assert rows[-1]["accuracy"] > 0.5  # three classes
    assert (tmp_path / "log.csv").read_text().count("\n") == 4
    assert "accuracy" in said(run)


@pytest.mark.gate
@pytest.mark.parametrize("settings", [{"ema": 0.9, "optimizer": "adamw"}, {"clip_norm": 1.0}])
def test_a_stopped_run_resumes_to_the_same_weights_bit_for_bit(tmp_path, settings):
    whole = trainer(tmp_path / "whole", **settings)
    whole.fit()
    stopping = StopAt(Section())
    with pytest.raises(Interrupted) as stop:
        trainer(tmp_path / "cut", methods=[stopping], **settings).fit()
    assert stop.value.code == 143
    stopping.at = -1
    resumed = trainer(tmp_path / "cut", net=small_net(99), methods=[stopping], **settings)
    resumed.fit()
    assert "resuming" in said(resumed)
    assert_same(weights(whole.model), weights(resumed.model))
    for one, two in zip(whole.progress.history, resumed.progress.history, strict=True):
        assert one["train_loss"] == two["train_loss"]
        assert one["accuracy"] == two["accuracy"]


@pytest.mark.gate
def test_ctrl_c_saves_and_exits_with_130(tmp_path):
    stopping = StopAt(Section())
    stopping.number = signal.SIGINT
    run = trainer(tmp_path, methods=[stopping])
    with pytest.raises(Interrupted) as stop:
        run.fit()
    assert stop.value.code == 130
    assert checkpoint.read(stop.value.saved).state["step"] == 8


@pytest.mark.gate
def test_a_signal_in_the_last_epoch_is_not_lost(tmp_path):
    stopping = StopAt(Section())
    plain = trainer(tmp_path / "whole")
    plain.fit()
    stopping.at = plain.progress.step
    with pytest.raises(Interrupted) as stop:
        trainer(tmp_path / "cut", methods=[stopping]).fit()
    resumed = trainer(tmp_path / "cut", net=small_net(99))
    resumed.fit()
    assert checkpoint.read(stop.value.saved).state["step"] == stopping.at
    assert_same(weights(plain.model), weights(resumed.model))


@pytest.mark.gate
def test_a_finished_run_is_taken_as_it_is(tmp_path):
    first = trainer(tmp_path)
    first.fit()
    again = trainer(tmp_path, net=small_net(5))
    again.fit()
    assert_same(weights(first.model), weights(again.model))
    assert not again.compiled


class Pulsing(Method):
    """Sees whether there is a sign of life during training."""

    name = "pulsing"
    watches_steps = True

    def on_step_end(self, event):
        self.found = _pulse().exists()


def _pulse():
    return Path(os.environ[PULSE_VARIABLE])


def test_each_step_gives_a_sign_of_life_until_training_is_over(tmp_path, monkeypatch):
    monkeypatch.setenv(PULSE_VARIABLE, str(tmp_path / "pulse"))
    watching = Pulsing(Section())
    trainer(tmp_path, methods=[watching], epochs=1).fit()
    assert watching.found
    assert not _pulse().exists()


@pytest.mark.gate
def test_same_seed_same_weights_other_seed_other_weights(tmp_path):
    runs = [trainer(tmp_path / str(i), feed=small_feed(seed), epochs=1) for i, seed in
            enumerate((0, 0, 1))]  # fmt: skip
    for run in runs:
        run.fit()
    first, same, other = (weights(run.model) for run in runs)
    assert_same(first, same)
    assert not np.array_equal(first["4.weight"], other["4.weight"])


@pytest.mark.gate
def test_hooks_are_called_and_their_state_is_kept(tmp_path):
    method = Watcher()
    run = trainer(tmp_path, methods=[method])
    run.fit()
    assert method.phases == ["even", "odd"]  # each phase is compiled once
    assert run.steps == [6, 3, 3]
    assert method.seen.sum() == 48 + 24 + 24
    assert (method.seen[24:] == 1).all()
    other = Watcher()
    trainer(tmp_path, methods=[other]).fit()
    assert np.array_equal(other.seen, method.seen)


@pytest.mark.gate
def test_only_the_last_and_the_best_checkpoints_stay(tmp_path):
    run = trainer(tmp_path, epochs=5, keep=1, save_every_steps=2)
    run.fit()
    assert set(run.store.steps()) == {30, run.progress.best_step}
    best = max(row["accuracy"] for row in run.progress.history)
    assert run.progress.best_merit == best


@pytest.mark.gate
def test_divergence_names_the_step_and_the_last_good_checkpoint(tmp_path):
    class Poison(Method):
        name = "poison"
        watches_steps = True

        def on_step_end(self, event):
            if event.step == 9:
                bias = next(p for p in run.model.get_parameters() if p.name == "4.bias")
                bias.set_data(ops.full_like(bias, float("nan")))

    run = trainer(tmp_path, methods=[Poison(Section())])
    with pytest.raises(DivergedError, match=r"step 10 .*step-00000006.*train\.lr"):
        run.fit()
    assert run.store.steps() == [6]


@pytest.mark.gate
def test_a_damaged_last_checkpoint_is_named_and_the_one_before_is_used(tmp_path):
    run = trainer(tmp_path)
    run.fit()
    newest = run.store.path(run.store.steps()[-1]) / "model.safetensors"
    newest.write_bytes(newest.read_bytes()[:-40])
    again = trainer(tmp_path)
    again.fit()
    assert str(newest) in said(again)
    assert_same(weights(run.model), weights(again.model))


@pytest.mark.gate
def test_no_space_leaves_the_older_checkpoints_and_nothing_half_written(tmp_path, monkeypatch):
    run = trainer(tmp_path)

    def full(arrays, path):
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    original = checkpoint.save_file
    calls = []

    def fails_later(arrays, path):
        calls.append(path)
        return full(arrays, path) if len(calls) > 2 else original(arrays, path)

    monkeypatch.setattr(checkpoint, "save_file", fails_later)
    with pytest.raises(CheckpointError, match="No space left on device"):
        run.fit()
    assert run.store.steps() == [6]
    assert [p.name for p in run.store.folder.iterdir()] == ["step-00000006"]
    checkpoint.read(run.store.path(6))
