from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from ms_eff.bench import swiftlearn
from ms_eff.bench.rows import Rows
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
from ms_eff.errors import ConfigError
from ms_eff.methods.swiftlearn.core import Passes

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


def test_runs_of_a_seed_differ_in_method_and_folder_only(tmp_path):
    size = SIZES["sst2"]["quick"]
    dumps = [make_config(case, size, WHERE, tmp_path).to_dict() for case in cases("sst2", size)]
    methods = [json.dumps(dump.pop("methods")) for dump in dumps]
    assert len(set(methods)) == len(methods)
    assert all(dump == dumps[0] for dump in dumps)
    assert dumps[0]["data"]["drop_last"] is False  # steps are ceil(N / B)


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
    assert not (tmp_path / "work" / "cifar10" / "seed0" / "random_fresh_0.5").exists()
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
