"""Progressive against one-shot, at its smallest."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from ms_eff.bench import progressive_recovery
from ms_eff.bench.progressive_recovery import ARMS, arm_config, cases, summary
from ms_eff.methods.progressive.recovery import steps_for
from ms_eff.methods.progressive.settings import FamilyConfig
from tests.methods.progressive.conftest import family_config, parent

__all__ = ["parent"]  # the fixture


def wanted(parent: Path, output: Path, tokens: int = 32) -> FamilyConfig:
    method = {"tokens": tokens, "allocation": "uniform", "step": "w1_only", "rule": "plain"}
    return family_config(parent, output, method=method)


def test_every_arm_sees_as_many_batches_of_the_same_text(parent: Path, tmp_path: Path) -> None:
    """A progressive family's k-th member has seen k steps, each rounded up to whole batches."""
    config = wanted(parent, tmp_path, tokens=40)  # 2.5 batches
    assert config.recovery is not None
    a_step = steps_for(40, config.recovery)
    assert a_step == 3
    found = {}
    for case in cases(config, [5], ARMS):
        made = arm_config(case, config, tmp_path)
        steps = steps_for(made.progressive.tokens, config.recovery)
        own = made.progressive.ratios
        place = own.index(case.ratio)  # of the step in the run that makes it
        found[case.arm, case.ratio] = (steps * (place + 1), made.seed, made.output.name)
    assert found == {
        ("dense", 1.25): (3, 5, "dense-1.25-5"),
        ("one_shot", 1.25): (3, 5, "progressive-5"),  # its first step is one
        ("progressive", 1.25): (3, 5, "progressive-5"),
        ("dense", 2.0): (6, 5, "dense-2-5"),
        ("one_shot", 2.0): (6, 5, "one_shot-2-5"),
        ("progressive", 2.0): (6, 5, "progressive-5"),
    }


def test_sizes_are_judged_by_the_dense_parent_on_the_same_tokens() -> None:
    row = {"params": 1, "trained_tokens": 1, "seconds": 60.0}
    rows: list[dict[str, Any]] = [
        {**row, "arm": arm, "seed": seed, "ratio": ratio, "perplexity": perplexity}
        for arm, seed, ratio, perplexity in (
            ("dense", 0, 1.25, 20.0), ("dense", 0, 1.6667, 10.0), ("dense", 1, 1.6667, 20.0),
            ("progressive", 0, 1.25, 23.0), ("progressive", 0, 1.6667, 13.0),
            ("progressive", 1, 1.6667, 27.0), ("one_shot", 1, 1.6667, 30.0),
        )
    ]  # fmt: skip
    assert summary(rows).splitlines()[len(rows) :] == [
        "20% removed, progressive: 1.150 times the dense parent on the same tokens "
        "(1.150 to 1.150, 1 seeds), at most 1.10: NOT met",
        "40% removed, one_shot: 1.500 times the dense parent on the same tokens "
        "(1.500 to 1.500, 1 seeds), at most 1.35: NOT met",
        "40% removed, progressive: 1.325 times the dense parent on the same tokens "
        "(1.300 to 1.350, 2 seeds), at most 1.35: met",
    ]


@pytest.mark.slow
def test_arms_end_at_the_same_size_and_tokens(
    parent: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "family.yaml"
    family = wanted(parent, tmp_path / "unused")
    config.write_text(yaml.safe_dump(family.model_dump(mode="json")))
    output, work = tmp_path / "rows.json", tmp_path / "w"
    call = [str(config), "--seeds", "3", "--work", str(work), "--output", str(output)]
    assert progressive_recovery.main(call) == 0
    rows = json.loads(output.read_text())["rows"]
    assert [(row["arm"], row["ratio"]) for row in rows] == [
        (arm, ratio) for ratio in (1.25, 2.0) for arm in ARMS
    ]
    for dense, one_shot, progressive in (rows[:3], rows[3:]):
        assert dense["params"] > one_shot["params"] == progressive["params"]
        assert dense["trained_tokens"] == one_shot["trained_tokens"]
        assert one_shot["trained_tokens"] == progressive["trained_tokens"]
    assert [row["trained_tokens"] for row in rows] == [32] * 3 + [64] * 3
    assert rows[1]["perplexity"] == rows[2]["perplexity"]
    assert 0 < rows[2]["seconds"] < rows[5]["seconds"]
    assert not list(work.glob("dense*/train"))
    assert progressive_recovery.main(call) == 0
    assert json.loads(output.read_text())["rows"] == rows
    capsys.readouterr()
    untrained = ["methods.progressive.tokens=0", "methods.progressive.step=joint"]
    assert progressive_recovery.main([str(config), *untrained, *call[1:]]) == 2
    assert "a family that trains is needed" in capsys.readouterr().err
