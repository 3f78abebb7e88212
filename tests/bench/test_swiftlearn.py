from __future__ import annotations

import json
import os
import signal
from collections import Counter
from pathlib import Path

import pytest

from ms_eff.bench import swiftlearn
from ms_eff.bench.rows import Rows
from ms_eff.bench.sst2 import check_held_out
from ms_eff.bench.swiftlearn_sizes import (
    FULL,
    KIND,
    POLICIES,
    SIZES,
    TASKS,
    Case,
    cases,
    make_config,
)
from ms_eff.errors import ConfigError, DataError
from ms_eff.methods.swiftlearn.core import Passes
from ms_eff.methods.swiftlearn.method import SwiftLearn
from ms_eff.train.interrupt import lock_folder

WHERE = {"data": Path("sst2"), "minilm": Path("minilm")}


@pytest.mark.parametrize("task", TASKS)
def test_rows_compare_every_policy_at_equal_keep_seed_by_seed(task, tmp_path):
    size = SIZES[task]["hour"]
    found = list(cases(task, size))
    assert len(set(found)) == len(found)
    assert [case.policy for case in found[:1]] == [FULL]
    least = min(keep for kept in TASKS[task].values() for keep in kept)
    for seed in size.seeds:
        per = Counter((c.policy, c.keep) for c in found if c.seed == seed)
        assert {policy for policy, keep in per if keep == least} == set(POLICIES) - {FULL}


def test_some_policies_come_with_full_training(tmp_path):
    some = list(cases("sst2", SIZES["sst2"]["hour"], ["swiftlearn topk"]))
    assert [(c.seed, c.policy, c.keep) for c in some] == [
        (seed, *row)
        for seed in (1, 2)
        for row in ((FULL, 1.0), ("swiftlearn topk", 0.1), ("swiftlearn topk", 0.3))
    ]


def test_runs_of_a_seed_differ_in_method_and_folder_only(tmp_path):
    size = SIZES["sst2"]["quick"]
    dumps = [make_config(case, size, WHERE, tmp_path).to_dict() for case in cases("sst2", size)]
    methods = [json.dumps(dump.pop("methods")) for dump in dumps]
    assert len(set(methods)) == len(methods)
    assert all(dump == dumps[0] for dump in dumps)
    assert dumps[0]["data"]["drop_last"] is False  # steps are ceil(N / B)


def _curve(*seconds):
    """Five steps of 16 samples an epoch."""
    return [
        {"step": 5 * (i + 1), "samples_per_second": 80 / taken} for i, taken in enumerate(seconds)
    ]


@pytest.mark.parametrize(
    ("policy", "taken", "compiling", "full"),
    [
        ("full", (20.0, 9.0, 9.0, 8.0), 12.0, 8.0),
        ("swiftlearn topk", (20.0, 10.0, 1.0, 1.0), 10.0, 10.0),
        ("infobatch", (20.0, 1.0, 1.0, 9.0), 11.0, 9.0),
        ("random fixed", (5.0, 8.0, 1.0, 1.0), 0.0, 8.0),
    ],
)
def test_seconds_hold_a_yardstick_and_count_each_choice_once(policy, taken, compiling, full):
    # three seconds of choosing: one as epochs began, which is in theirs, and two between them
    report = {} if policy == "full" else {"selection_seconds": 3.0, "seconds_between_epochs": 2.0}
    found = swiftlearn.seconds_of(Case("sst2", 1, policy, 0.1), _curve(*taken), 16, report)
    assert found["seconds"] == sum(taken) + (0.0 if policy == "full" else 2.0)
    assert found["selection_seconds"] == (0.0 if policy == "full" else 3.0)
    assert found["compile_seconds"] == compiling
    assert found["full_epoch_seconds"] == full
    assert found["epoch_seconds"] == list(taken)


@pytest.mark.slow
def test_a_row_that_was_stopped_is_started_over(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(
        swiftlearn, "cases", lambda task, size: [Case(task, 0, "random fresh", 0.5)]
    )
    words = ["cifar10", "--data", "digits", "--size", "quick", "--samples", "64",
             "--output", str(tmp_path / "rows.json"), "--work", str(tmp_path / "work")]  # fmt: skip
    watch = SwiftLearn.on_step_end

    def stop(self, event):
        watch(self, event)
        if event.step == 3:  # the first of the second epoch
            os.kill(os.getpid(), signal.SIGTERM)

    with monkeypatch.context() as patched:
        patched.setattr(SwiftLearn, "on_step_end", stop)
        assert swiftlearn.main(words) == 143
    folder = tmp_path / "work" / "seed0" / "random_fresh_0.5"
    assert list(folder.glob("train/checkpoints/step-*3"))
    assert not (tmp_path / "rows.json").exists()
    capsys.readouterr()
    assert swiftlearn.main(words) == 0
    told = capsys.readouterr().err
    assert "resuming" not in told
    assert "epoch 1/3" in told
    (row,) = json.loads((tmp_path / "rows.json").read_text())["rows"]
    assert len(row["epoch_seconds"]) == 3


@pytest.mark.slow
def test_a_row_is_measured_saved_and_not_measured_again(tmp_path, monkeypatch):
    monkeypatch.setattr(
        swiftlearn, "cases", lambda task, size: [Case(task, 0, "random fresh", 0.5)]
    )
    output = tmp_path / "rows.json"
    words = ["cifar10", "--data", "digits", "--size", "quick", "--samples", "64",
             "--output", str(output), "--work", str(tmp_path / "work")]  # fmt: skip
    assert swiftlearn.main(words) == 0
    (row,) = json.loads(output.read_text())["rows"]
    passes = Passes(64, 3, 2, 0.5)
    assert row["samples_trained"] == passes.trained == row["closed_form"]["samples_trained"]
    assert row["steps"] == passes.steps(32)
    assert 0 <= row["test_accuracy"] <= 1
    assert row["seconds"] > row["compile_seconds"] >= 0
    assert row["wall_seconds"] > row["seconds"] > row["full_epoch_seconds"] > 0
    assert (row["network"], row["test_samples"]) == ("resnet18, width 4", 200)
    assert (row["train_samples"], row["whole_train_samples"]) == (64, 1437)
    assert not (tmp_path / "work" / "seed0" / "random_fresh_0.5").exists()
    monkeypatch.setattr(swiftlearn, "measure", None)
    assert swiftlearn.main(words) == 0


def test_a_mistake_is_one_line(tmp_path, capsys):
    words = ["cifar10", "--data", "digits", "--epochs", "2", "--work", str(tmp_path)]
    assert swiftlearn.main(words) == 2
    assert "epochs = 2: it should be greater than or equal to 3" in capsys.readouterr().err


def test_other_settings_need_another_file(tmp_path):
    path = tmp_path / "rows.json"
    Rows(path, KIND, {"task": "sst2", "seeds": [1], "epochs": 10}).add({"policy": "full"})
    with pytest.raises(ConfigError, match="epochs"):
        Rows(path, KIND, {"task": "sst2", "seeds": [1], "epochs": 20})


def _sst2(folder):
    (folder / "train.tsv").write_text("good\t1\nbad\t0\n")
    (folder / "test.tsv").write_text("fine\t1\n")
    return {"data": folder}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, r"test\.tsv: cannot be read: No such file"),
        ("fine\n", r"test\.tsv: line 1: no column 1"),
        ("index\tsentence\n0\tfine\n", r"test\.tsv: label 'fine' is none of train\.tsv's: 0, 1;"),
    ],
)
def test_test_sentences_are_looked_at_before_anything_is_trained(tmp_path, capsys, content, said):
    where = _sst2(tmp_path)
    check_held_out(where)
    (tmp_path / "test.tsv").unlink()
    if content is not None:
        (tmp_path / "test.tsv").write_text(content)
    with pytest.raises(DataError, match=said):
        check_held_out(where)
    words = ["sst2", "--data", str(tmp_path), "--work", str(tmp_path / "work"),
             "--output", str(tmp_path / "rows.json")]  # fmt: skip
    assert swiftlearn.main(words) == 2
    assert "test.tsv" in capsys.readouterr().err
    assert not (tmp_path / "work").exists()  # not even the folder of a row


def test_two_tasks_may_run_side_by_side_and_a_lock_names_the_option(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    refused = ["--data", "digits", "--epochs", "2"]
    with lock_folder(Path("runs/swiftlearn/sst2")):
        assert swiftlearn.main(["sst2", *refused]) == 2
        said = "--work runs/swiftlearn/sst2: another run is writing here; wait for it or choose "
        assert f"{said}another --work FOLDER" in capsys.readouterr().err
        assert swiftlearn.main(["cifar10", *refused]) == 2
        assert "epochs = 2" in capsys.readouterr().err
