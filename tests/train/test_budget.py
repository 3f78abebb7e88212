"""The time budget: closed forms on a clock of our own, and one real run."""

from __future__ import annotations

import time
from copy import copy
from functools import partial

import numpy as np
import pytest
from mindspore import Parameter, Tensor

from ms_eff.errors import ConfigError
from ms_eff.section import Section
from ms_eff.train import trainer as trainer_module
from ms_eff.train.budget import Budget, Fitted
from ms_eff.train.interrupt import Interrupted
from ms_eff.train.optim import OptimizerState
from ms_eff.train.pacing import Pace
from ms_eff.train.progress import Progress
from ms_eff.train.settings import TrainSettings
from tests.train.helpers import small_feed, small_net, trainer
from tests.train.test_trainer import StopAt


class Clock:
    """Seconds that pass when told to."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


class Run:
    """Steps of known length, as the trainer reports them."""

    def __init__(self, seconds: float, step=1.0, evaluation=4.0, compile=5.0, **settings) -> None:
        self.clock, self.step, self.compile = Clock(), step, compile
        block = {"epochs": 100, "lr": 1.0, "schedule": "linear", "time_budget": seconds}
        self.settings = TrainSettings(**{**block, **settings})
        self.pace = Pace(self.settings, [10] * 100)
        self.optimizer = OptimizerState(
            [Parameter(Tensor([0.0]), name="w")], self.settings, self.pace.rates()
        )
        self.progress = Progress()
        self.evaluation = evaluation
        self._start(0.0)
        self.pace.budget.check_start()

    def _start(self, spent: float) -> None:
        self.used: list[float] = []
        budget = Budget(
            self.settings.time_budget, spent, self.clock, first_step=self.progress.first_step
        )
        self.pace.start(budget, self.progress, self.optimizer)
        budget.expect("evaluation", self.evaluation)

    def resumed(self) -> Run:
        """Return a later call of this run, on a clock of its own."""
        again = copy(self)
        again.clock, again.pace = Clock(), Pace(self.settings, [10] * 100)
        again._start(self.spent)
        return again

    def epoch(self, kind: str = "", steps: int = 10) -> bool:
        """Run an epoch, or its first steps; return whether there is time for another."""
        p, fresh = self.progress, kind not in self.pace.budget._firsts
        self.pace.budget.mark()
        for i in range(steps):
            self.used.append(float(self.optimizer.rates.asnumpy()[p.step]))
            self.clock.now += self.step + self.compile * (fresh and i == 0)
            p.step += 1
            p.batch += 1
            self.optimizer.step.set_data(Tensor(p.step, self.optimizer.step.dtype))
            self.pace.step_done(p, kind, self.optimizer)
            if i < 9 and self.pace.out_of_time(kind):
                return False
        if steps < 10:
            return True
        over = self.pace.out_of_time(kind, p.epoch + 1)
        p.next_epoch()
        if not over:
            if p.epoch % self.settings.eval_every == 0:
                self.clock.now += self.evaluation
            self.pace.refit(p, self.optimizer)
        return not over

    @property
    def spent(self) -> float:
        return self.clock.now - Clock.now


@pytest.mark.parametrize("seconds", [60.0, 203.3])
@pytest.mark.parametrize("eval_every", [1, 1000])
def test_steps_and_the_last_evaluation_fill_the_budget_but_for_one_step(seconds, eval_every):
    run = Run(seconds, eval_every=eval_every)
    while run.epoch():
        pass
    end = run.spent + run.evaluation
    room = run.step + (run.evaluation if eval_every == 1 else 0)  # none worth an evaluation
    assert seconds - room <= end <= seconds


def test_the_schedule_ends_with_the_budget_and_never_jumps():
    run = Run(300.0, eval_every=1000)
    while run.epoch():
        pass
    rates = np.array(run.used)
    total = len(rates)
    assert total == 291  # 300 less compilation and the last evaluation
    np.testing.assert_allclose(rates, 1 - np.arange(total) / total, atol=0.015)
    assert 0 <= rates[-1] < 0.01


def test_slower_steps_shrink_what_is_left_without_a_jump():
    run = Run(200.0, eval_every=1000)
    for _ in range(5):
        run.epoch()
    run.step = 4.0
    while run.epoch("slow"):
        pass
    assert 200 - 4 - 1 <= run.spent + run.evaluation <= 200
    drops = -np.diff(run.used)
    assert (drops > 0).all()
    assert drops.max() < 0.1
    assert run.used[-1] < 0.1


def test_methods_learn_how_many_epochs_there_will_be():
    run = Run(100.0, eval_every=1000)
    assert run.pace.epochs(run.progress, run.progress.epoch) == 100
    run.epoch()
    assert run.pace.epochs(run.progress, run.progress.epoch) in (9, 10)  # of 91 steps
    run.epoch()
    assert run.pace.epochs(run.progress, run.progress.epoch) in (9, 10)


def test_a_resumed_run_has_what_is_left():
    run = Run(100.0, eval_every=1000)
    run.epoch()
    run.epoch()
    share, rate = run.progress.share, run.optimizer.rates.asnumpy()[20]
    again = run.resumed()
    assert again.optimizer.rates.asnumpy()[20] == pytest.approx(rate, abs=0.01)
    while again.epoch():
        pass
    assert run.spent + again.spent + again.evaluation == pytest.approx(100.0, abs=1.0)
    assert 0.15 < share < 0.3
    assert again.used[-1] < 0.02


@pytest.mark.parametrize("steps", [0, 7])
def test_a_resumed_run_tells_methods_at_once_how_many_epochs_there_will_be(steps):
    run = Run(100.0, eval_every=1000)
    run.epoch()
    run.epoch()
    run.epoch(steps=steps)
    again = run.resumed()
    assert again.progress.step == 20 + steps
    assert again.pace.epochs(again.progress, again.progress.epoch) == 9  # of 91 steps


def test_a_resumed_run_has_to_have_room_for_a_step_that_compiles():
    run = Run(100.0, eval_every=1000)  # a first step takes 6 seconds, the evaluation 4
    run.epoch()
    for left, over in ((9.9, True), (10.1, False)):
        run.clock.now = Clock.now + 100.0 - left
        assert run.resumed().pace.out_of_time("") is over


def test_a_budget_without_room_for_a_step_says_so():
    with pytest.raises(ConfigError, match=r"time_budget = 3s: too short .* take 4\.0 s; give"):
        Run(3.0)
    run = Run(9.0)  # the first step compiles for longer
    with pytest.raises(ConfigError, match=r"6\.0 s are spent .* at least 15s"):
        run.epoch()


def test_a_slow_evaluation_is_forgotten_after_a_few():
    clock = Clock()
    budget = Budget(100.0, clock=clock)
    for seconds, longest in ((9.0, 9.0), (1.0, 9.0), (2.0, 9.0), (1.0, 2.0)):
        with budget.timed("evaluation"):
            clock.now += seconds
        assert budget.reserve == pytest.approx(longest)


def test_a_guess_ends_with_the_first_whole_evaluation():
    clock = Clock()
    budget = Budget(100.0, clock=clock)
    with budget.timed("evaluation"):  # of a part
        clock.now += 1.0
    budget.expect("evaluation", 10.0)
    assert budget.reserve == 10.0
    for seconds, longest in ((7.0, 7.0), (6.0, 7.0), (8.0, 8.0)):
        with budget.timed("evaluation"):
            clock.now += seconds
        assert budget.reserve == pytest.approx(longest)


def test_a_share_runs_on_evenly():
    fitted = Fitted(step=10, share=0.5, steps=4)
    assert [fitted.share_at(step) for step in (10, 12, 14, 20)] == [0.5, 0.75, 1.0, 1.0]


@pytest.mark.parametrize(
    ("text", "seconds"), [("600s", 600.0), ("10m", 600.0), ("1.5h", 5400.0), (90, 90.0)]
)
def test_times_are_read_as_people_write_them(text, seconds):
    assert TrainSettings(time_budget=text).time_budget == seconds


class Ticks:
    """A clock on which every look at it takes a hundredth of a second."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        self.now += 0.01
        return self.now


OPTIONS = {"epochs": 100, "time_budget": 0.6, "ema": 0.9, "eval_every": 3}


@pytest.mark.gate
def test_a_run_ends_with_its_budget_in_one_call_or_in_two(tmp_path, monkeypatch):
    monkeypatch.setattr(trainer_module, "Budget", partial(Budget, clock=Ticks()))
    whole = trainer(tmp_path / "whole", **OPTIONS)
    rows = whole.fit()
    assert whole.progress.finished
    assert 0.5 < rows[-1]["seconds"] <= 0.6
    assert "accuracy" in rows[-1]
    assert rows[-1]["lr"] < 0.01  # of 0.05, at the end of a cosine
    again = trainer(tmp_path / "whole", net=small_net(5), **OPTIONS)
    again.fit()
    assert again.progress.step == whole.progress.step
    assert not again.compiled

    stop = StopAt(Section())
    with pytest.raises(Interrupted):
        trainer(tmp_path / "cut", methods=[stop], **OPTIONS).fit()
    stop.at = -1
    resumed = trainer(tmp_path / "cut", net=small_net(5), methods=[stop], **OPTIONS)
    rows = resumed.fit()
    assert 0.5 < rows[-1]["seconds"] <= 0.6
    assert 8 < resumed.progress.step <= whole.progress.step
    assert rows[-1]["lr"] < 0.01


@pytest.mark.gate
@pytest.mark.parametrize(("at", "batch"), [(8, 2), (12, 0)])
def test_a_run_resumed_too_late_for_a_step_is_scored_and_done(tmp_path, monkeypatch, at, batch):
    monkeypatch.setattr(trainer_module, "Budget", partial(Budget, clock=Ticks()))
    stop = StopAt(Section())
    stop.at = at
    cut = trainer(tmp_path, methods=[stop], **OPTIONS)
    with pytest.raises(Interrupted):
        cut.fit()
    assert (cut.progress.step, cut.progress.batch) == (at, batch)
    stop.at = -1
    late = {**OPTIONS, "time_budget": cut.progress.seconds + 0.03}
    run = trainer(tmp_path, net=small_net(5), methods=[stop], **late)
    row = run.fit()[-1]
    assert (row["epoch"], row["step"]) == (2, at)
    assert row["accuracy"] == run.score().accuracy
    assert row["samples_per_second"] > 0
    assert not run.compiled
    again = trainer(tmp_path, net=small_net(6), methods=[stop], **late)
    assert again.fit()[-1] == row
    assert again.progress.finished


@pytest.mark.gate
def test_seconds_before_training_are_of_the_budget_and_count_once(tmp_path, monkeypatch):
    monkeypatch.setattr(trainer_module, "Budget", partial(Budget, clock=Ticks()))
    stop = StopAt(Section())
    stop.at = 2
    cut = trainer(tmp_path, methods=[stop], spent=0.3, **OPTIONS)
    with pytest.raises(Interrupted):
        cut.fit()
    assert 0.3 < cut.progress.seconds < 0.6
    stop.at = -1
    resumed = trainer(tmp_path, net=small_net(5), methods=[stop], spent=0.3, **OPTIONS)
    assert 0.5 < resumed.fit()[-1]["seconds"] <= 0.6
    assert resumed.progress.step > 2
    with pytest.raises(ConfigError, match=r"too short for one step: 0\.[67] s are spent"):
        trainer(tmp_path / "late", spent=0.6, **OPTIONS).fit()


@pytest.mark.parametrize(("size", "batches"), [(1, [1, 2]), (8, [1, 1])])
def test_an_evaluation_is_guessed_from_a_tenth_of_its_batches(tmp_path, monkeypatch, size, batches):
    run = trainer(tmp_path, feed=small_feed(eval_batch_size=size), **{**OPTIONS, "time_budget": 60})
    seen: list[int] = []
    monkeypatch.setattr(run, "_evaluate", lambda part: seen.append(len(list(part))))
    run._start_budget()
    assert seen == batches  # of 20, and of 3: the first compiles


@pytest.mark.slow
def test_a_real_run_stops_in_time(tmp_path):
    run = trainer(tmp_path, **{**OPTIONS, "epochs": 100_000, "time_budget": 15.0})
    began = time.monotonic()
    run.fit()
    assert 10.0 < time.monotonic() - began < 16.0  # the machine may be busy at the end
    assert run.progress.history[-1]["lr"] < 0.01
