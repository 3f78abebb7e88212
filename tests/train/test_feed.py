import pytest

from ms_eff.data import build
from ms_eff.data.settings import DataSettings
from ms_eff.errors import ConfigError
from ms_eff.runtime import Worker
from ms_eff.train.feed import Feed


def feed(workers: int, drop_last: bool) -> Feed:
    settings = DataSettings(
        name="synthetic", train_size=48, test_size=8, batch_size=8, drop_last=drop_last
    )
    return Feed(build(settings), settings, worker=Worker(0, workers))


def test_steps_are_those_of_each_worker():
    assert feed(1, False).steps(41) == 6
    assert feed(2, True).steps(41) == 2
    assert feed(2, False).steps(48) == 3


def test_a_last_batch_that_some_worker_would_have_nothing_of_is_refused():
    with pytest.raises(ConfigError, match="drop_last"):
        feed(2, False).steps(41)
