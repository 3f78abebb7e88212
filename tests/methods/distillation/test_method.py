"""Whole runs: what they learn, that they resume bit for bit, and what is refused."""

from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
import pytest
from mindspore import nn
from rich.console import Console

from ms_eff.config import Config
from ms_eff.errors import CheckpointError, ConfigError, PlanError
from ms_eff.experiment import Experiment
from ms_eff.methods.base import EpochEnd, ModelContext
from ms_eff.methods.distillation.cells import AnnealedForward, CosineForward
from ms_eff.methods.registry import check_conflicts
from ms_eff.methods.swiftlearn import SwiftLearn, SwiftLearnSettings
from ms_eff.section import Section
from ms_eff.train.evaluate import Score
from ms_eff.train.interrupt import Interrupted
from ms_eff.train.step import Forward, Step
from tests.data.sentences import write_sst2
from tests.methods.distillation.problems import (
    MATE,
    language_feed,
    method,
    network,
    saved,
    text_feed,
)
from tests.train.helpers import small_feed, small_net, trainer, weights
from tests.train.test_trainer import StopAt, assert_same

pytest.importorskip("tokenizers")

TRAIN = {"optimizer": "adamw", "lr": 1e-3, "schedule": "linear", "epochs": 2}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Return a folder with sentences, and teachers of text and of pictures."""
    folder = tmp_path_factory.mktemp("distillation")
    write_sst2(folder, train=46)
    saved(folder / "bert", "bert", depth=2, seed=7)
    saved(folder / "vit", "vit", seed=7)
    return folder


def _pictures(folder, distillation, net=None, *others, **changes):
    feed = small_feed(augment="none")
    settings = {"epochs": 4, "optimizer": "adamw", "lr": 1e-3, "eval_every": 1, **changes}
    return trainer(folder, net or small_net(), (distillation, *others), feed, **settings)


def _text(place, folder, distillation, seed=1, *others, **changes):
    net = network("bert", depth=1, seed=seed, dropout=0.1)
    settings = {**TRAIN, "eval_every": 2, **changes}
    return trainer(folder, net, (distillation, *others), text_feed(place), **settings)


def _stopped_and_resumed(make, tmp_path, whole, at, again):
    """Stop a run after a step, go on with other initial weights; return both methods' states."""
    stop = StopAt(Section())
    stop.at = at
    with pytest.raises(Interrupted):
        make(tmp_path / "cut", again(), 1, stop).fit()
    stop.at = -1
    fresh = again()
    resumed = make(tmp_path / "cut", fresh, 9, stop)
    resumed.fit()
    assert_same(weights(whole.model), weights(resumed.model))
    assert_same(whole.optimizer.arrays(), resumed.optimizer.arrays())
    return fresh


@pytest.mark.gate
def test_a_student_comes_to_agree_with_its_teacher_and_keeps_nothing_of_it(place, tmp_path):
    taught = method(teacher=str(place / "vit"), weights=(0.0, 1.0, 0.0))
    run = _pictures(tmp_path, taught, epochs=12, lr=5e-3, eval_every=12)
    rows = run.fit()
    assert rows[-1]["train_loss"] < 0.5 * rows[0]["train_loss"]
    arrays = run.store.latest()[0]
    assert arrays.weights.keys() == weights(small_net()).keys()
    assert not any("teacher" in name for name in arrays.training)
    assert taught.report["kind"] == "vanilla"


@pytest.mark.gate
def test_a_run_is_not_gone_on_with_by_another_teacher(tmp_path):
    """The settings name a folder; what lies there may be another network than it was."""
    folder = tmp_path / "teacher"

    def run(seed, at):
        saved(folder, "vit", seed=seed)
        stop = StopAt(Section())
        stop.at = at
        return _pictures(tmp_path / "run", method(teacher=str(folder)), None, stop, epochs=1)

    with pytest.raises(Interrupted):
        run(7, 1).fit()
    with pytest.raises(CheckpointError, match=r"teacher = .*: holds another network than when"):
        run(8, -1).fit()
    resumed = run(7, 2)
    with pytest.raises(Interrupted):
        resumed.fit()
    assert resumed.progress.step == 2


@pytest.mark.gate
def test_annealing_has_two_graphs_the_second_without_a_teacher_and_resumes(place, tmp_path):
    def again():
        return method("annealing", teacher=str(place / "vit"), max_temperature=2)

    annealing = again()
    whole = _pictures(tmp_path / "whole", annealing)
    whole.fit()
    assert [name[0] for name in whole.compiled] == ["logits", "labels"]
    first, second = (
        annealing.change_step(_plain(whole), phase).forward for phase in ("logits", "labels")
    )
    assert type(first) is AnnealedForward
    assert type(second) is Forward
    steps = int(whole.optimizer.step.asnumpy())
    assert set(whole.optimizer.taken.asnumpy()) == {steps - 18}  # moments of the second phase only
    # stopped in the third epoch, with the best weights of the first two in the checkpoint
    fresh = _stopped_and_resumed(
        lambda folder, m, seed, stop: _pictures(folder, m, small_net(seed - 1), stop),
        tmp_path, whole, at=16, again=again,
    )  # fmt: skip
    assert_same(annealing.state(), fresh.state())


def test_the_second_phase_begins_with_the_best_weights_and_phi_rises(place, tmp_path):
    annealing = method("annealing", teacher=str(place / "vit"), max_temperature=3)
    run = _pictures(tmp_path, annealing)  # three epochs on logits, one on labels
    bias = next(p for p in run.model.get_parameters() if p.name == "4.bias")
    phis, restarted = [], []
    for epoch, accuracy in enumerate((0.2, 0.6, 0.4, 0.9)):
        phis.append(round(float(annealing.state()["phi"]), 6))
        bias.set_data(bias * 0 + epoch)
        score = Score(accuracy, 0.0, 20)
        event = EpochEnd(epoch, 4, run.model, print, score, lambda: restarted.append(len(phis)))
        annealing.on_epoch_end(event)
        assert (bias.asnumpy() == (0, 1, 1, 3)[epoch]).all()
    assert phis[:3] == [0.333333, 0.666667, 1.0]
    assert restarted == [3]
    assert [annealing.phase(epoch) for epoch in range(4)] == ["logits"] * 3 + ["labels"]
    assert not any(name.startswith("best") for name in annealing.state())


def _plain(run):
    return Step(run.model, Forward(run.model, nn.CrossEntropyLoss()), run.weights)


@pytest.mark.slow
@pytest.mark.parametrize("at", [3, 9])
def test_mate_resumes_bit_for_bit(place, tmp_path, mate_run, at):
    whole, done = mate_run
    fresh = _stopped_and_resumed(
        lambda folder, m, seed, stop: _text(place, folder, m, seed, stop),
        tmp_path,
        whole,
        at=at,
        again=lambda: method("mate", teacher=str(place / "bert"), **MATE),
    )
    assert_same(done.state(), fresh.state())


@pytest.fixture(scope="module")
def mate_run(place, tmp_path_factory):
    done = method("mate", teacher=str(place / "bert"), **MATE)
    whole = _text(place, tmp_path_factory.mktemp("mate"), done)
    whole.fit()
    return whole, done


def test_rounds_come_in_time_with_batches_and_numbers_of_their_own(place, tmp_path):
    def start(folder):
        rounds = _started(method("mate", teacher=str(place / "bert"), **MATE), place, folder)
        rounds = rounds._kind.rounds
        rounds.seen = []
        rounds.step = lambda x, y: rounds.seen.append((rounds.steps, x.asnumpy(), y.asnumpy()))
        rounds._warm_up = lambda: rounds.seen.append("warm-up")
        return rounds

    whole, numbers = start(tmp_path / "whole"), []
    for _ in range(12):
        whole.before_step()
        numbers.append(whole.filler.scores.asnumpy().copy())
    assert whole.seen[0] == "warm-up"
    assert [step for step, _, _ in whole.seen[1:]] == [0, 5, 10]
    assert len({x.tobytes() for _, x, _ in whole.seen[1:]}) == 3
    assert whole.filler.masking.special == (2, 3)
    assert len({n.tobytes() for n in numbers}) == 12
    part = start(tmp_path / "part")
    for _ in range(7):
        part.before_step()
    resumed = start(tmp_path / "resumed")
    resumed.generator.bias.set_data(resumed.generator.bias + 1)
    resumed.load_state(part.state())
    assert_same(part.state(), resumed.state())
    for number in numbers[7:]:
        resumed.before_step()
        np.testing.assert_array_equal(resumed.filler.scores.asnumpy(), number)
    (_, x, y) = resumed.seen[0]
    np.testing.assert_array_equal(x, whole.seen[3][1])
    np.testing.assert_array_equal(y, whole.seen[3][2])


@pytest.mark.slow
def test_mate_trains_its_generator_in_rounds_with_two_graphs(mate_run):
    whole, done = mate_run
    rounds = done._kind.rounds
    assert len(whole.compiled) == 1
    assert rounds.steps == 12
    assert int(rounds.optimizer.step.asnumpy()) == 3  # before steps 0, 5 and 10
    assert rounds.filler.masking.special == (2, 3)
    assert "generator learned masked tokens" in whole.console.file.getvalue()
    arrays = whole.store.latest()[0]
    assert not any("generator" in name for name in arrays.weights)


@pytest.mark.gate
@pytest.mark.parametrize(
    "form", [pytest.param("layerwise", marks=pytest.mark.slow), "concatenated"]
)
def test_rail_trains_its_projections_in_one_graph_and_resumes_bit_for_bit(place, tmp_path, form):
    def again():
        return method("rail", teacher=str(place / "bert"), width=4, form=form)

    def make(folder, rail, seed=1, *others):
        return _text(place, folder, rail, seed, *others, epochs=3, eval_every=3)

    rail = again()
    whole = make(tmp_path / "whole", rail)
    whole.fit()
    assert len(whole.compiled) == 1
    own = rail.own_weights()
    assert {p.name for p in own} == {"distillation.student", "distillation.teacher"}
    assert all("distillation" not in p.name for p in whole.model.get_parameters())
    fresh_values = [p.asnumpy() for p in _started(again(), place, tmp_path).own_weights()]
    assert all((p.asnumpy() != v).any() for p, v in zip(own, fresh_values, strict=True))
    if form == "layerwise":
        fresh = _stopped_and_resumed(make, tmp_path, whole, at=8, again=again)
        assert_same(rail.state(), fresh.state())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "settings"),
    [("vanilla", {"weights": (2, 5, 1)}), ("rail", {"width": 4}), ("mate", MATE), ("tf_reg", {})],
)
def test_language_models_are_distilled_alike(tmp_path, kind, settings):
    if kind != "tf_reg":
        saved(tmp_path / "teacher", "gpt2", depth=2, seed=7)
        settings = {**settings, "teacher": str(tmp_path / "teacher")}
    net = network("gpt2", depth=1, seed=1, dropout=0.1)
    run = trainer(
        tmp_path / "run", net, [method(kind, **settings)], language_feed(),
        optimizer="adamw", lr=1e-2, epochs=4, eval_every=4,
    )  # fmt: skip
    rows = run.fit()
    assert rows[-1]["train_loss"] < rows[0]["train_loss"]
    assert np.isfinite(rows[-1]["perplexity"])


def _started(distillation, place, folder):
    _text(place, folder / "started", distillation)
    return distillation


def test_the_cosine_term_needs_equal_widths(place, tmp_path):
    three = {"weights": (2, 5, 1), "teacher": str(place / "bert")}
    fits = _started(method(**three), place, tmp_path)
    assert type(fits._kind.forward(Forward(fits._kind.run.model, print), "")) is CosineForward
    saved(tmp_path / "narrow", "bert", dim=8)
    with pytest.raises(PlanError, match="student has 16 and the teacher 8; give it 0"):
        _started(method(**{**three, "teacher": str(tmp_path / "narrow")}), place, tmp_path)


@pytest.mark.slow
def test_the_dense_network_of_a_config_teaches_what_became_of_it(tmp_path):
    config = Config(
        output=tmp_path,
        model={"name": "vit", "patch_size": 4, "dim": 16, "depth": 1, "heads": 2},
        data={"name": "digits", "batch_size": 64, "train_limit": 256, "test_limit": 100},
        pretrain={"optimizer": "adamw", "lr": 1e-2, "epochs": 2, "eval_every": 2},
        train={"optimizer": "adamw", "lr": 1e-3, "epochs": 1},
        methods=({"lowrank": {"ratio": 2.0}}, {"distillation": {"kind": "vanilla"}}),
    )
    results = Experiment(config, "test", Console(file=io.StringIO())).train()
    assert list(results.stages) == ["dense", "decomposed", "fine-tuned"]
    assert results.methods["distillation"] == {"kind": "vanilla"}


@pytest.mark.parametrize(
    ("settings", "error", "said"),
    [
        ({"kind": "vanilla"}, ConfigError, r"vanilla needs one, and this run makes none; give"),
        ({"kind": "self", "teacher": "nowhere"}, CheckpointError, "nowhere: no network here"),
    ],
)
def test_a_missing_teacher_is_refused_before_anything_is_trained(settings, error, said):
    with pytest.raises(error, match=said):
        method(**settings).check(nn.Dense(1, 1), ModelContext((8, 1, 8, 8)))
    method("tf_reg").check(nn.Dense(1, 1), ModelContext((8, 1, 8, 8)))


@pytest.mark.parametrize(
    ("settings", "train", "error", "said"),
    [
        ({"kind": "rail"}, {}, ConfigError, "rail looks inside networks of text"),
        ({"kind": "mate"}, {}, ConfigError, "mate looks inside networks of text"),
        ({"kind": "self"}, {}, PlanError, "trained copy of the student"),
        ({"kind": "annealing"}, {"epochs": 1}, ConfigError, "annealing has two phases"),
        ({"kind": "label_smoothing"}, {"label_smoothing": 0.1}, ConfigError, "by itself; set 0"),
    ],
)
def test_what_cannot_be_distilled_is_refused(place, tmp_path, settings, train, error, said):
    if settings["kind"] != "label_smoothing":
        settings = {**settings, "teacher": str(place / "vit")}
    with pytest.raises(error, match=said):
        _pictures(tmp_path, method(**settings), **train)


def test_a_student_deeper_than_the_teacher_cannot_pair_layers(place, tmp_path):
    deep = network("bert", depth=3)
    with pytest.raises(PlanError, match=r"draws 3 layers, .* the teacher has 2"):
        trainer(tmp_path, deep, [method("rail", teacher=str(place / "bert"))], text_feed(place))


def test_what_cannot_be_combined_is_named(place, tmp_path):
    with pytest.raises(ConfigError, match="'distillation' counts on a number of epochs"):
        check_conflicts([method("annealing")], time_budget=True)
    check_conflicts([method("vanilla")], time_budget=True)
    infobatch = SwiftLearn(SwiftLearnSettings(policy="infobatch"))
    with pytest.raises(ConfigError, match="'swiftlearn' and 'distillation'"):
        check_conflicts([infobatch, method("vanilla")])
    run = _pictures(tmp_path, distillation := method("tf_reg"))
    step = distillation.change_step(_plain(run), "")
    taught = method(teacher=str(place / "vit"))
    other = _pictures(tmp_path / "other", taught)
    wrapped = replace(step, forward=taught.change_step(_plain(other), "").forward)
    with pytest.raises(ConfigError, match="list distillation first"):
        taught.change_step(wrapped, "")


def test_softened_labels_need_no_teacher_and_count_the_classes_themselves(tmp_path):
    alphas = []
    for kind, settings in (
        ("tf_reg", {"alpha": 0.2, "certainty": 0.7}),
        ("label_smoothing", {"alpha": 0.2 * 3 * 0.3 / 2}),  # K = 3
    ):
        distillation = method(kind, **settings)
        run = _pictures(tmp_path / kind, distillation)
        alphas.append(distillation.change_step(_plain(run), "").forward.loss.alpha)
    assert alphas[0] == pytest.approx(alphas[1])
