from __future__ import annotations

import mindspore as ms
import numpy as np
import pytest
from mindspore import Parameter, Tensor, nn, ops

from ms_eff import models
from ms_eff.errors import ConfigError
from ms_eff.methods.base import EpochEnd, RunStart, StepBegin, StepEnd
from ms_eff.methods.registry import check_conflicts
from ms_eff.methods.skipvit import SkipViT, SkipViTSettings
from ms_eff.methods.skipvit.cells import RoutedBlocks
from ms_eff.methods.skipvit.surgery import apply_skipvit
from ms_eff.methods.swiftlearn import SwiftLearn, SwiftLearnSettings, core
from ms_eff.methods.swiftlearn.cells import WeightedForward
from ms_eff.runtime import Worker
from ms_eff.train.interrupt import Interrupted
from ms_eff.train.settings import TrainSettings
from ms_eff.train.step import Forward, Step
from tests.tolerances import FP32
from tests.train.helpers import said, small_feed, small_net, trainer, weights
from tests.train.test_trainer import StopAt, assert_same

N, EPOCHS = 48, 4
FEED = {"train_size": N, "drop_last": False, "augment": "none"}


def _method(seed=0, **settings) -> SwiftLearn:
    return SwiftLearn(SwiftLearnSettings(**{"keep": 0.3, **settings}), seed)


def _start(split) -> RunStart:
    return RunStart(
        split.labels, split.classes, 8, lambda n: n, lambda i: {}, print,
        small_net(), split, Worker(), TrainSettings(),
    )  # fmt: skip


class Seen(StopAt):
    """Counts how often each sample is trained on, epoch by epoch."""

    at = -1

    def on_step_end(self, event):
        real = event.indices[event.indices >= 0]
        np.add.at(self.counts[event.epoch], real, 1)
        super().on_step_end(event)


def _run(folder, method, *others, feed=None, **options):
    seen = Seen(method.settings)
    seen.counts = np.zeros((options.get("epochs", EPOCHS), N), np.int64)
    job = trainer(
        folder, small_net(), (method, seen, *others), feed or small_feed(**FEED),
        **{"epochs": EPOCHS, **options},
    )  # fmt: skip
    return job, seen


POLICIES = {
    "topk": {},
    "sample": {"selection": "sample"},
    "random_fixed": {"policy": "random_fixed"},
    "random_fresh": {"policy": "random_fresh"},
    "infobatch": {"policy": "infobatch"},
}


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Run each policy once; every network has its own compiled step."""
    done = {}
    for name, settings in POLICIES.items():
        method = _method(**settings)
        job, seen = _run(tmp_path_factory.mktemp(name), method)
        job.fit()
        done[name] = (method, job, seen.counts)
    return done


@pytest.mark.parametrize("policy", POLICIES)
def test_every_policy_does_the_same_work_in_the_same_steps(runs, policy):
    method, job, counts = runs[policy]
    full = [0, EPOCHS - 1] if policy == "infobatch" else [0, 1]
    for epoch in range(EPOCHS):
        if epoch in full:
            assert (counts[epoch] == 1).all()
        else:
            assert counts[epoch].max() == 1
            assert counts[epoch].sum() == round(0.3 * N)
    passes = core.Passes(N, EPOCHS, 2, 0.3)
    assert sum(job.steps) == passes.steps(8) == len(job.optimizer.rates.asnumpy())
    report = method.report
    assert report["samples_trained"] == passes.trained == counts.sum()
    assert report["samples_evaluated"] == 0
    form = report["closed_form"]
    assert (form["samples_trained"], form["samples_evaluated"]) == (passes.trained, 0)
    assert form["samples_of_full_training"] == EPOCHS * N
    assert sum(report["class_counts"]) == N
    assert sum(report["kept_class_counts"]) == report["kept"]


@pytest.mark.parametrize(
    ("policy", "different"),
    [("topk", 1), ("sample", 2), ("random_fixed", 1), ("random_fresh", 2)],
)
def test_subsets_change_from_epoch_to_epoch_or_stay(runs, policy, different):
    counts = runs[policy][2]
    assert len({tuple(np.flatnonzero(counts[epoch])) for epoch in (2, 3)}) == different


@pytest.mark.gate
def test_same_seed_same_subsets_and_weights_other_seed_other_subsets(runs, tmp_path):
    method = _method(policy="random_fresh")
    job, seen = _run(tmp_path, method)
    job.fit()
    _, first, counts = runs["random_fresh"]
    np.testing.assert_array_equal(seen.counts, counts)
    assert_same(weights(job.model), weights(first.model))
    method.seed = 1
    assert method.subset(2, np.arange(N)).tolist() != np.flatnonzero(counts[2]).tolist()


@pytest.mark.gate
def test_the_subset_is_that_of_the_logits_seen_in_training(tmp_path):
    class Logits(StopAt):
        at = -1

        def on_step_end(self, event):
            self.found[event.epoch, event.indices] = event.outputs.asnumpy()

    watch = Logits(SwiftLearnSettings())
    watch.found = np.zeros((3, N, 3))
    method = _method()
    job, seen = _run(tmp_path, method, watch, epochs=3)
    job.fit()
    metric = np.sqrt(((watch.found[1] - watch.found[0]) ** 2).sum(1))
    expected = np.sort(np.argsort(-metric)[: round(0.3 * N)])
    np.testing.assert_array_equal(np.flatnonzero(seen.counts[2]), expected)
    assert f"{N} x 3 logits kept, 0.00 MiB" in said(job)
    best = method.report["most_important"]
    assert [row["index"] for row in best[:3]] == np.argsort(-metric)[:3].tolist()
    assert best[0]["metric"] == pytest.approx(metric.max(), rel=1e-6)
    assert best[0]["png"]
    assert "logits" not in method.state()  # nothing will be compared with them


@pytest.mark.gate
def test_samples_left_over_by_whole_batches_are_measured_by_a_forward(tmp_path):
    method = _method()
    feed = small_feed(train_size=45, drop_last=True, augment="none")
    job = trainer(tmp_path, methods=[method], feed=feed, epochs=3)
    job.fit()
    assert job.steps == [5, 5, 1]
    assert method.report["samples_evaluated"] == 2 * 5
    assert method.report["samples_trained"] == 40 + 40 + 8
    form = method.report["closed_form"]
    assert (form["samples_trained"], form["samples_evaluated"]) == (88, 10)
    assert (method._movements.metric > 0).all()


@pytest.mark.parametrize("every", [1, None])
def test_a_dropped_sample_that_moves_most_comes_back_at_the_next_reevaluation_only(every):
    method = _method(reevaluate_every=every, keep=0.25)
    method.epochs = 5
    split = small_feed(train_size=8, drop_last=False).data.train
    method.on_start(_start(split))
    everything = np.arange(8)
    logits = np.zeros((8, 2), np.float32)

    def predict(indices):
        return logits[indices].astype(np.float64)

    for epoch in range(5):
        subset = method.subset(epoch, everything)
        if epoch < 2:
            assert len(subset) == 8
        elif epoch == 2:
            assert subset.tolist() == [6, 7]
            logits[3] += 100.0  # a dropped one, unseen by training
        elif epoch == 3:
            assert (3 in subset) is (every is not None)
        if epoch == 1:
            logits = logits + np.arange(8, dtype=np.float32)[:, None]
        method.on_step_end(StepEnd(epoch, epoch, subset, Tensor(logits[subset])))
        method.on_epoch_end(EpochEnd(epoch, 5, small_net(), predict, None, print))
    passes = core.Passes(8, 5, 2, 0.25, every)
    assert method._evaluated == passes.evaluated == (16 if every else 0)
    assert method._trained == passes.trained


def test_a_damaged_picture_which_no_forward_can_show_does_not_seem_to_move():
    method = _method(reevaluate_every=1, keep=0.25)
    method.epochs = 4
    method.on_start(_start(small_feed(train_size=8, drop_last=False).data.train))
    logits = 50.0 + np.arange(16, dtype=np.float32).reshape(8, 2)
    shown = np.where(np.arange(8) == 5, 0.0, 1.0)[:, None]  # what `predict` gives of a damaged one
    for epoch in range(3):
        logits = logits + np.arange(8, dtype=np.float32)[::-1, None]  # the first moves most
        subset = method.subset(epoch, np.arange(8))
        method.on_step_end(StepEnd(epoch, epoch, subset, Tensor(logits[subset])))
        event = EpochEnd(epoch, 4, small_net(), lambda i: (shown * logits)[i], None, print)  # noqa: B023
        method.on_epoch_end(event)
    assert method.subset(3, np.arange(8)).tolist() == [0, 1]


@pytest.mark.gate
@pytest.mark.parametrize(
    ("policy", "settings", "at"),
    [pytest.param("sample", {"reevaluate_every": 1, "selection": "sample"}, 9,
                  marks=pytest.mark.slow),
     ("infobatch", {"policy": "infobatch"}, 13)],  # within an epoch on a share
)  # fmt: skip
def test_a_stopped_run_resumes_bit_for_bit(runs, tmp_path, policy, settings, at):
    if policy in runs and settings == POLICIES[policy]:
        method, whole, first = runs[policy]
    else:
        method = _method(**settings)
        whole, seen = _run(tmp_path / "whole", method)
        whole.fit()
        first = seen.counts
    cut, second = _run(tmp_path / "cut", _method(**settings))
    second.at = at
    with pytest.raises(Interrupted):
        cut.fit()
    again = _method(**settings)
    resumed, third = _run(tmp_path / "cut", again)
    resumed.fit()
    assert_same(weights(whole.model), weights(resumed.model))
    np.testing.assert_array_equal(first, second.counts + third.counts)
    own, other = dict(method.report), dict(again.report)
    for report in (own, other):
        assert report.pop("selection_seconds") >= report.pop("seconds_between_epochs") >= 0
    assert own == other


@pytest.mark.gate
def test_weighted_gradients_are_those_of_the_weighted_loss():
    net = nn.Dense(4, 3, weight_init="normal")
    rng = np.random.default_rng(0)
    x, y = Tensor(rng.normal(size=(6, 4)).astype(np.float32)), Tensor(np.arange(6) % 3, ms.int32)
    w = rng.uniform(0.5, 20, 6).astype(np.float32)
    held = Parameter(Tensor(w), name="held", requires_grad=False)
    forward = WeightedForward(Forward(net, nn.CrossEntropyLoss()), held)

    def by_hand(inputs, labels):
        losses = ops.cross_entropy(net(inputs), labels, reduction="none")
        return (losses * Tensor(w)).sum() / 6

    grads = ms.value_and_grad(forward, None, net.trainable_params(), has_aux=True)(x, y)
    expected = ms.grad(by_hand, None, net.trainable_params())(x, y)
    for found, wanted in zip(grads[1], expected, strict=True):
        np.testing.assert_allclose(found.asnumpy(), wanted.asnumpy(), rtol=FP32, atol=FP32)
    plain = ops.cross_entropy(net(x), y).asnumpy()
    np.testing.assert_allclose(grads[0][0].asnumpy(), plain, rtol=FP32)


def test_a_time_budget_leaves_open_what_it_counts_on():
    with pytest.raises(ConfigError, match="time_budget: 'swiftlearn' counts on a number of epochs"):
        check_conflicts([_method()], time_budget=True)


def test_infobatch_names_what_it_cannot_be_combined_with(tmp_path):
    class Distillation(StopAt):
        name = "distillation"

    other = Distillation(SwiftLearnSettings())
    with pytest.raises(ConfigError, match="'swiftlearn' and 'distillation'"):
        check_conflicts([_method(policy="infobatch"), other])
    check_conflicts([_method(), other])
    job, _ = _run(tmp_path, method := _method(policy="infobatch"))
    step = job._step_for(0)
    wrapped = Step(step.model, step.forward, job.weights)
    assert isinstance(step.forward, WeightedForward)
    with pytest.raises(ConfigError, match=r"policy = 'infobatch'.*list swiftlearn first"):
        method.change_step(wrapped, "")


@pytest.mark.parametrize("first", ["skipvit", "swiftlearn"])
def test_each_phase_has_its_own_forward_and_all_share_the_weights(tmp_path, first):
    routes = SkipViTSettings(score_block=0, merge_block=2, warmup=0.5)
    sizes = {"image_size": 8, "patch_size": 4, "dim": 12, "depth": 3, "heads": 6}
    plain = models.build("vit", **sizes, in_channels=1, num_classes=3)
    net, _ = apply_skipvit(plain, routes)
    own = _method(policy="infobatch")
    methods = [SkipViT(routes), own] if first == "skipvit" else [own, SkipViT(routes)]
    job = trainer(tmp_path, net, methods, small_feed(), epochs=4)
    forwards = [job._step_for(epoch).forward for epoch in range(4)]
    assert [[c.routing for _, c in forward.cells_and_names() if isinstance(c, RoutedBlocks)]
            for forward in forwards] == [[False], [False], [True], [True]]  # fmt: skip
    own._weights[:] = np.arange(48)
    own.on_step_begin(StepBegin(1, np.array([5, 3, 47, 0, 1, 2, 4, 6])))
    for forward in forwards:
        assert forward.weights.asnumpy().tolist() == [5, 3, 47, 0, 1, 2, 4, 6]


@pytest.mark.parametrize(
    ("settings", "feed", "epochs", "said"),
    [
        ({}, {}, 2, r"warmup_epochs = 2: with train\.epochs = 2 no epoch is left"),
        ({"policy": "infobatch", "warmup_epochs": 3}, {}, 3, r"= 3: with train\.epochs = 3"),
        (
            {"keep": 0.1},
            {"drop_last": True},
            4,
            r"methods\.swiftlearn\.keep = 0\.1: 5 of 48 samples .* data\.batch_size = 8 on 1 "
            r"worker.* data\.drop_last = true",
        ),
    ],
)
def test_a_run_without_a_step_on_a_share_is_refused_before_it_begins(
    tmp_path, settings, feed, epochs, said
):
    with pytest.raises(ConfigError, match=said):
        _run(tmp_path, _method(**settings), feed=small_feed(**{**FEED, **feed}), epochs=epochs)
    assert not list(tmp_path.iterdir())


def test_a_share_that_fills_one_batch_is_taken(tmp_path):
    job, _ = _run(tmp_path, _method(keep=8 / 48), feed=small_feed(**FEED | {"drop_last": True}))
    assert job.steps == [6, 6, 1, 1]


def test_infobatch_reports_its_last_share_and_the_losses_that_decided_it():
    method = _method(policy="infobatch", keep=0.5)
    method.epochs = 4
    split = small_feed(train_size=8, drop_last=False, num_classes=2).data.train
    method.on_start(_start(split))
    everything = np.arange(8)

    def train(epoch, confidence):
        """Losses of two classes: log(1 + exp(-confidence)), the larger the less sure."""
        subset = method.subset(epoch, everything)
        right = split.labels[subset][:, None] == np.arange(2)
        logits = np.where(right, confidence[subset][:, None], 0.0).astype(np.float32)
        method.on_step_end(StepEnd(epoch, epoch, subset, Tensor(logits)))
        method.on_epoch_end(EpochEnd(epoch, 4, small_net(), lambda i: logits, None, print))
        return subset

    rising = np.arange(8.0)  # the first samples have the largest losses
    assert len(train(0, rising)) == 8
    train(1, rising)
    decided = method._losses.scores.copy()
    share = train(2, rising)
    assert len(share) == 4
    # sqrt(1 - 4 / 8) of 8 is 6 prunable samples: the two of largest loss must stay
    assert {0, 1} <= set(share.tolist())
    assert len(train(3, rising[::-1].copy())) == 8
    state = method.state()
    again = _method(policy="infobatch", keep=0.5)
    again.epochs = 4
    again.on_start(_start(split))
    again.load_state(state)
    for one in (method, again):  # a run resumed in its last epoch reports the same
        one.on_train_end()
        report = one.report
        assert report["kept"] == 4
        assert report["kept_class_counts"] == np.bincount(split.labels[share], minlength=2).tolist()
        assert report["most_important"][0]["index"] == 0  # of the last losses it would be 7
        assert report["most_important"][0]["metric"] == decided.max() == pytest.approx(np.log(2))
        assert sum(report["metric"]["kept_counts"]) == 4


def test_seconds_between_epochs_stand_apart_from_those_within(monkeypatch):
    method = _method(policy="swiftlearn", keep=0.5)
    method.epochs = 3
    split = small_feed(train_size=8, drop_last=False).data.train
    method.on_start(_start(split))
    clock = iter(np.arange(0.0, 99.0))  # one second between two looks at it
    monkeypatch.setattr("time.perf_counter", lambda: next(clock))
    logits = Tensor(np.zeros((8, 2), np.float32))
    for epoch in range(3):
        method.subset(epoch, np.arange(8))
        method.on_step_end(StepEnd(epoch, epoch, np.arange(8), logits))
        method.on_epoch_end(EpochEnd(epoch, 3, small_net(), print, None, print))
    method.on_train_end()
    assert method.report["seconds_between_epochs"] == 3.0  # after each epoch
    assert method.report["selection_seconds"] == 4.0  # and once as the third began
