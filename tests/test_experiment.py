from ms_eff.experiment import _bound
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
