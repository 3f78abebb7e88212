import pytest
from rich.console import Console

from ms_eff.config import Config
from ms_eff.errors import ConfigError
from ms_eff.experiment import Experiment, _bound, _made_with
from ms_eff.results import difference

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
    assert difference(_bound(BEFORE), _bound(now)) == ""


def test_what_does_is_named():
    now = {**BEFORE, "train": {"epochs": 4, "log_every": 1}}
    assert difference(_bound(BEFORE), _bound(now)) == "train.epochs: 3 -> 4"
    assert "pretrain" in difference(_bound(BEFORE), _bound({**BEFORE, "pretrain": {"epochs": 1}}))


def test_records_of_versions_that_bound_more_still_fit():
    old = {"train": {"epochs": 3, "keep": 2, "tensorboard": False}}
    assert difference(_bound(old), _bound({"train": {"epochs": 3}})) == ""


def test_records_of_versions_that_knew_fewer_keys_still_fit():
    old = {"train": {"epochs": 3}, "pretrain": None, "data": {"name": "digits", "batch_size": 8}}
    now = Config(model={"name": "resnet18"}, data={"name": "digits"}, train={"epochs": 3})
    bound = _made_with(old, workers=2)
    assert bound["data"]["samples_a_step"] == 16
    assert bound["train"] == _bound(now.to_dict())["train"]


def test_workers_may_share_a_step_anew_but_not_change_it(tmp_path):
    def claim(**data: int) -> Experiment:
        blocks = {"model": {"name": "resnet18", "width": 8}, "train": {"epochs": 1}}
        config = Config(output=tmp_path, data={"name": "digits", **data}, **blocks)
        return Experiment(config, "test", Console(quiet=True))

    first = claim(batch_size=32)
    first._sign()
    (tmp_path / "models" / "dense").mkdir(parents=True)
    (tmp_path / "models" / "dense" / "state.json").write_text("{}")
    assert claim(global_batch_size=32).config.data.batch_size == 32
    with pytest.raises(ConfigError, match=r"samples_a_step: 32 -> 16.*global_batch_size=32 keeps"):
        claim(batch_size=16)
