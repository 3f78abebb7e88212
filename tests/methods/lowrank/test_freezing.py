"""What moves, what stays, and that an epoch's end compiles nothing."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from mindspore import nn

from ms_eff import models
from ms_eff.errors import ConfigError, PlanError
from ms_eff.methods.base import ModelContext
from ms_eff.methods.lowrank import apply_lowrank, rebuild
from ms_eff.methods.lowrank.freezing import frozen_factors, frozen_set, trained_weights
from ms_eff.methods.lowrank.layers import find_layers
from ms_eff.methods.lowrank.method import LowRank
from ms_eff.methods.lowrank.planner import NetworkSize, make_plan
from ms_eff.methods.lowrank.settings import FreezeSettings, LowRankSettings, make_settings
from ms_eff.train.interrupt import Interrupted
from ms_eff.train.step import Step
from ms_eff.train.trainer import Trainer
from tests.methods.lowrank.networks import randomise
from tests.tolerances import LAYER
from tests.train.helpers import trainer, weights
from tests.train.test_trainer import StopAt, assert_same

# by hand: child 1 is a pair, child 3 a triple, child 6 a pair with a bias
OUTER = {"1.first.weight", "3.first.weight", "3.last.weight", "6.first.weight"}
INNER = {"1.last.weight", "3.core.weight", "6.last.weight"}
MODES = pytest.mark.parametrize(
    "optimizer", [{"optimizer": "momentum"}, {"optimizer": "adamw", "ema": 0.9}]
)


def net(seed: int = 0) -> nn.Cell:
    return randomise(
        nn.SequentialCell(
            nn.Conv2d(1, 8, 3, 2, pad_mode="same"),
            nn.Conv2d(8, 8, 1, has_bias=True),
            nn.BatchNorm2d(8),
            nn.Conv2d(8, 8, 3, pad_mode="same"),
            nn.ReLU(),
            nn.Flatten(),
            nn.Dense(8 * 16, 3),
        ),
        seed,
    )


def lowrank(seed: int = 0, **freeze: object) -> tuple[LowRank, nn.Cell]:
    settings = LowRankSettings(rank=2, exclude=("0",), freeze=FreezeSettings(**freeze))
    method = LowRank(settings)
    return method, method.change_model(net(seed), ModelContext((8, 1, 8, 8)))


def run(folder: Path, method: LowRank, network: nn.Cell, *more: StopAt, **options: object):
    # decay on every weight: nothing stays by luck
    options = {"weight_decay": 0.05, "decay_norm_and_bias": True, "warmup_epochs": 0.0, **options}
    return trainer(folder, net=network, methods=(method, *more), **options)


class Recorder(LowRank):
    """Keeps the weights at every epoch's end."""

    def on_epoch_end(self, event):
        self.seen.append(weights(event.model))


def moved(before: dict, after: dict) -> set[str]:
    return {name for name in before if not np.array_equal(before[name], after[name])}


def recorded(
    folder: Path, freeze: dict, epochs: int, **options: object
) -> tuple[Trainer, list[set[str]], set[str]]:
    method, network = lowrank(**freeze)
    recorder = Recorder(method.settings)
    recorder.seen = [weights(network)]
    job = run(folder, recorder, network, epochs=epochs, **options)
    job.fit()
    seen = recorder.seen
    trainable = {p.name for p in network.trainable_params()}
    steps = [moved(a, b) & trainable for a, b in pairwise(seen)]
    return job, steps, trainable


@pytest.mark.gate
@MODES
def test_sequential_phases_are_still_and_together_train_everything(tmp_path, optimizer) -> None:
    job, steps, trainable = recorded(tmp_path, {"kind": "sequential"}, 4, **optimizer)
    assert set(trainable) >= OUTER | INNER
    assert steps == [trainable - OUTER, trainable - INNER] * 2
    # two compiled steps, each of one graph: nothing is compiled at an epoch's end
    assert set(job.compiled) == {("outer",), ("inner",)}
    assert all(len(step.compile_cache) == 1 for step in job.compiled.values())


@pytest.mark.gate
@MODES
def test_static_freezing_never_moves_the_outer_factors(tmp_path, optimizer) -> None:
    job, steps, trainable = recorded(tmp_path, {"kind": "static"}, 2, **optimizer)
    assert steps == [trainable - OUTER] * 2
    assert set(job.compiled) == {("outer",)}
    # nor do their moments gather anything that could move them later
    slots = {p.name: p.asnumpy() for slots in job.optimizer.moments for p in slots}
    frozen = [name for name in slots if name.partition(".")[2] in OUTER]
    assert len(frozen) == len(OUTER) * (2 if "ema" in optimizer else 1)
    assert not any(slots[name].any() for name in frozen)


@pytest.mark.gate
def test_the_average_goes_on_towards_resting_factors(tmp_path) -> None:
    class Averages(LowRank):
        def on_epoch_end(self, event):
            own = weights(event.model)
            averages = job.average.arrays().items()
            names = {n.removeprefix("ema."): a.copy() for n, a in averages}
            seen.append({n: (own[n], a) for n, a in names.items()})

    seen: list[dict] = []
    method, network = lowrank(kind="sequential")
    job = run(tmp_path, Averages(method.settings), network, epochs=2, ema=0.5, optimizer="sgd")
    job.fit()
    for name in INNER:  # they rest in the second epoch, of six steps
        (_, before), (weight, after) = seen[0][name], seen[1][name]
        assert np.abs(before - weight).max() > 10 * LAYER  # it had moved
        np.testing.assert_allclose(after, weight + 0.5**6 * (before - weight), atol=LAYER)


@pytest.mark.gate
def test_a_stopped_run_resumes_bit_for_bit_in_the_second_phase(tmp_path) -> None:
    options = {"epochs": 3, "optimizer": "adamw"}
    method, network = lowrank(kind="sequential")
    run(tmp_path / "whole", method, network, **options).fit()
    stop = StopAt(method.settings)
    stop.at = 8  # of 6 steps an epoch: within the second
    method, cut = lowrank(kind="sequential")
    with pytest.raises(Interrupted):
        run(tmp_path / "cut", method, cut, stop, **options).fit()
    stop.at = -1
    # a later process: rebuilt from the plan, other weights
    again = LowRank(method.settings, plan=method.plan)
    fresh = randomise(LowRank.rebuild(net(7), method.plan), seed=8)
    job = run(tmp_path / "cut", again, fresh, stop, **options)
    job.fit()
    assert list(job.compiled) == [("inner", ""), ("outer", "")]
    assert_same(weights(network), weights(fresh))


def test_resnet50_at_ratio_two_trains_the_papers_share() -> None:
    network = models.build("resnet50")
    plan = make_plan(find_layers(network), make_settings({"ratio": 2.0}), NetworkSize(1)).plan
    network = rebuild(network, plan)
    every = tuple(p for p in network.trainable_params() if p.ndim > 1)
    trained = trained_weights(network, every, "outer")
    sizes = [sum(p.size for p in chosen) for chosen in (trained, every)]
    assert sizes == [9_705_539, 14_086_659]


def test_both_sets_are_disjoint_and_all_factors() -> None:
    network, _, _ = apply_lowrank(net(), rank=2)
    outer, inner = ({p.name for p in frozen_factors(network, w)} for w in ("outer", "inner"))
    assert (outer, inner) == (OUTER, INNER)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"kind": "static"}, "oooooo"),
        ({"kind": "static", "start": "inner"}, "iiiiii"),
        ({"kind": "sequential"}, "oioioi"),
        ({"kind": "sequential", "start": "inner"}, "ioioio"),
        ({"kind": "sequential", "period": 2}, "ooiioo"),
    ],
)
def test_who_rests_when(settings: dict, expected: str) -> None:
    freeze = FreezeSettings(**settings)
    assert "".join(frozen_set(freeze, epoch)[0] for epoch in range(6)) == expected


def test_a_name_is_enough_and_mistakes_are_named() -> None:
    assert make_settings({"ratio": 2, "freeze": "static"}).freeze == FreezeSettings(kind="static")
    assert make_settings({"plan": "p.json", "freeze": "sequential"}).source == "plan"
    with pytest.raises(ConfigError, match=r"freeze.kind = 'statik': it should be 'static' or"):
        make_settings({"ratio": 2, "freeze": "statik"})
    with pytest.raises(ConfigError, match="static freezing never changes sides; drop period"):
        make_settings({"ratio": 2, "freeze": {"kind": "static", "period": 2}})


def test_freezing_a_dense_network_is_an_error() -> None:
    network = net()
    step = Step(network, network, tuple(network.trainable_params()))
    with pytest.raises(PlanError, match="no low-rank layer whose factors could be frozen"):
        LowRank(LowRankSettings(rank=2, freeze="static")).change_step(step, "outer")
