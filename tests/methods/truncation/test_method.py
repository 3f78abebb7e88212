"""Truncation and what follows it in a config: refused before hours of training, told afterwards."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from ms_eff.config import Config
from ms_eff.errors import ConfigError, PlanError
from ms_eff.experiment import Experiment
from ms_eff.methods.truncation.settings import TruncationSettings
from ms_eff.report.terminal import layer_table

CUT = {"truncation": {"keep": 2, "rule": "uniform"}}


def _job(folder, *methods, epochs: int = 2) -> Experiment:
    config = Config(
        output=folder,
        model={"name": "vit", "patch_size": 4, "dim": 16, "depth": 4, "heads": 2},
        data={"name": "digits", "batch_size": 64, "train_limit": 128, "test_limit": 50},
        pretrain={"epochs": 1},
        train={"epochs": epochs},
        methods=methods,
    )
    return Experiment(config, "test", Console(file=io.StringIO()))


@pytest.mark.parametrize(
    ("methods", "epochs", "error", "said"),
    [
        (({"truncation": {"keep": 3}},), 2, ConfigError, r"^methods\.truncation\.keep: pseudo_uni"),
        (({"truncation": {"rule": [0, 9]}},), 2, ConfigError, r"^methods\.truncation\.rule: "),
        (
            ({"truncation": {"keep": 2, "blocks": "block"}},),
            2,
            PlanError,
            r"^methods\.truncation\.blocks: .* \(did you mean 'blocks'",
        ),
        ((CUT, {"distillation": {"kind": "self"}}), 2, PlanError, "trained copy of the student"),
        ((CUT, {"distillation": {"kind": "annealing"}}), 1, ConfigError, "annealing has two phas"),
        ((CUT, {"distillation": {"kind": "mate"}}), 2, ConfigError, "mate looks inside networks"),
    ],
)
def test_what_cannot_work_is_refused_before_anything_is_trained(
    tmp_path, methods, epochs, error, said
):
    job = _job(tmp_path / "run", *methods, epochs=epochs)
    with pytest.raises(error, match=said):
        job.train()
    assert not list((tmp_path / "run").glob("*/checkpoints"))


def test_an_unknown_rule_is_named_with_the_nearest():
    with pytest.raises(
        ValueError, match=r"no such rule \(did you mean 'pseudo_uniform'\?\); known"
    ):
        TruncationSettings(keep=2, rule="pseudo_unifrm")


@pytest.mark.gate
def test_compress_says_which_blocks_stay_and_what_waits_for_training(tmp_path):
    job = _job(tmp_path / "run", CUT, {"distillation": {"kind": "vanilla"}})
    results = job.compress()
    console = Console(file=io.StringIO(), width=100)
    console.print(layer_table("truncation", results.methods["truncation"]))
    assert "truncation: blocks 0, 3 of 4 stay" in console.file.getvalue()
    assert "distillation: acts in training" in job.console.file.getvalue()
