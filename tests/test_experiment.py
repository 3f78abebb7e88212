import time

import numpy as np
import pytest
from mindspore import nn
from PIL import Image
from rich.console import Console

from ms_eff.config import Config
from ms_eff.errors import ConfigError
from ms_eff.experiment import Experiment
from ms_eff.methods.base import Method
from ms_eff.report.tables import remarks
from ms_eff.results import difference
from ms_eff.run_folder import bound, made_with
from ms_eff.section import Section
from ms_eff.train import checkpoint

BEFORE = {
    "output": "runs/a",
    "data": {"name": "cifar10", "root": "here"},
    "train": {"epochs": 3, "log_every": 50},
    "pretrain": None,
}


def test_what_does_not_change_the_numbers_may_change_between_two_calls():
    now = {
        "output": "runs/b",
        "data": {"name": "cifar10", "root": "there"},
        "train": {"epochs": 3, "log_every": 1},
        "pretrain": None,
    }
    assert difference(bound(BEFORE), bound(now)) == ""


def test_what_does_is_named():
    now = {**BEFORE, "train": {"epochs": 4, "log_every": 1}}
    assert difference(bound(BEFORE), bound(now)) == "train.epochs: 3 -> 4"
    assert "pretrain" in difference(bound(BEFORE), bound({**BEFORE, "pretrain": {"epochs": 1}}))


def test_records_of_versions_that_bound_more_still_fit():
    old = {"train": {"epochs": 3, "keep": 2, "tensorboard": False}}
    assert difference(bound(old), bound({"train": {"epochs": 3}})) == ""


def test_records_of_versions_that_knew_fewer_keys_still_fit():
    old = {"train": {"epochs": 3}, "pretrain": None, "data": {"name": "digits", "batch_size": 8}}
    now = Config(model={"name": "resnet18"}, data={"name": "digits"}, train={"epochs": 3})
    found = made_with(old, workers=2)
    assert found["data"]["samples_a_step"] == 16
    assert found["train"] == bound(now.to_dict())["train"]


def test_workers_may_share_a_step_anew_but_not_change_it(tmp_path):
    def claim(**data: int) -> Experiment:
        blocks = {"model": {"name": "resnet18", "width": 8}, "train": {"epochs": 1}}
        config = Config(output=tmp_path, data={"name": "digits", **data}, **blocks)
        return Experiment(config, "test", Console(quiet=True))

    first = claim(batch_size=32)
    first.output.sign()
    (tmp_path / "models" / "dense").mkdir(parents=True)
    (tmp_path / "models" / "dense" / "state.json").write_text("{}")
    assert claim(global_batch_size=32).config.data.batch_size == 32
    with pytest.raises(ConfigError, match=r"samples_a_step: 32 -> 16.*global_batch_size=32 keeps"):
        claim(batch_size=16)


@pytest.mark.gate
def test_skipped_files_are_recorded_and_samples_are_those_scored(tmp_path):
    rng = np.random.default_rng(0)
    for part, count in (("train", 4), ("val", 3)):
        for name in ("ant", "bee"):
            folder = tmp_path / "root" / part / name
            folder.mkdir(parents=True)
            for index in range(count):
                pixels = rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / f"{index}.png")
            (folder / "0.png").write_text("damaged")
    (tmp_path / "root" / "train" / "bee" / "1.png").write_text("damaged")
    data = {"name": "image_folder", "root": tmp_path / "root", "corrupt": "skip", "image_size": 8}
    config = Config(
        output=tmp_path / "run",
        model={"name": "resnet18", "width": 4},
        data={**data, "batch_size": 4},
        train={"epochs": 2},
    )
    experiment = Experiment(config, "test", Console(quiet=True))
    experiment.new_model = lambda: nn.SequentialCell(nn.Flatten(), nn.Dense(3 * 64, 2))
    stages = experiment.train().stages
    assert stages["trained"]["damaged"] == {"train": 3, "test": 2}
    assert stages["trained"]["samples"] == 4
    assert [row["damaged"] for row in stages["trained"]["curve"]] == [3, 3]
    (words,) = remarks(stages)
    assert "3 training samples" in words
    assert "2 test samples, left out of the scores" in words


class Slow(Method):
    """Takes its time to leave a network as it is."""

    name = "slow"

    def change_model(self, model, context):
        time.sleep(0.4)
        return model


@pytest.mark.gate
def test_what_is_done_to_a_new_network_is_of_the_time_budget(tmp_path):
    config = Config(
        output=tmp_path,
        model={"name": "resnet18", "width": 4},
        data={"name": "digits", "train_limit": 64, "test_limit": 10},
        train={"time_budget": "0.3s"},
    )
    experiment = Experiment(config, "test", Console(quiet=True))
    experiment.new_model = lambda: nn.SequentialCell(nn.Flatten(), nn.Dense(64, 10))
    experiment.methods = [Slow(Section())]
    with pytest.raises(ConfigError, match=r"time_budget = 0\.3s: too short"):
        experiment.train()
    saved = checkpoint.read(tmp_path / "train" / "checkpoints" / "step-00000000")
    assert 0.4 <= saved.state["seconds"] < 5  # the evaluation is not in it yet


@pytest.mark.gate
def test_a_network_is_scored_once_it_has_been_trained(tmp_path):
    config = Config(
        output=tmp_path,
        model={"name": "resnet9", "width": 2},
        data={"name": "digits", "train_limit": 16, "test_limit": 10, "batch_size": 8},
        train={"epochs": 1},
        methods=[{"patch_whitening": {}}],
    )
    stages = Experiment(config, "test", Console(quiet=True)).train().stages
    assert "accuracy" not in stages["whitened"]
    assert stages["whitened"]["params"] == stages["trained"]["params"]
    assert stages["trained"]["samples"] == 10
