"""The device's queue exists on Ascend only; a plain loop stands in for it here, and says so."""

import os
import signal

import mindspore as ms
import numpy as np
import pytest

from ms_eff.errors import ConfigError
from ms_eff.train.interrupt import Interrupted
from tests.train.helpers import trainer, weights


def stand_in(cell, dataset, sink_size=1):
    rows = dataset.create_tuple_iterator(num_epochs=1)

    def run():
        for _ in range(sink_size):
            result = cell(*next(rows))
        return result

    stand_in.made.append(dataset)
    return run


def test_the_cpu_has_no_queue_and_that_is_said(tmp_path):
    with pytest.raises(ConfigError, match=r"train\.sink=false"):
        trainer(tmp_path, sink=True).fit()


@pytest.mark.gate
def test_sinking_takes_the_same_steps(tmp_path, monkeypatch):
    plain = trainer(tmp_path / "plain", epochs=2)
    plain.fit()
    stand_in.made = []
    monkeypatch.setattr(ms, "data_sink", stand_in)
    monkeypatch.setattr("ms_eff.train.sink._has_queue", lambda: True)
    sunk = trainer(tmp_path / "sunk", epochs=2, sink=True, log_every=4)
    rows = sunk.fit()
    assert len(stand_in.made) == 2  # one queue an epoch
    assert [row["step"] for row in rows] == [6, 12]
    assert rows[0]["train_loss"] > 0
    for name, array in weights(plain.model).items():
        assert np.array_equal(array, weights(sunk.model)[name]), name


@pytest.mark.gate
def test_a_stop_comes_between_two_calls_of_the_device(tmp_path, monkeypatch):
    """Within a call the device is steps ahead of the host: what is saved must be of one moment."""
    stand_in.made, calls = [], []

    def stopped(cell, dataset, sink_size=1):
        run = stand_in(cell, dataset, sink_size)

        def once():
            result = run()
            calls.append(sink_size)
            if len(calls) == 1:
                os.kill(os.getpid(), signal.SIGTERM)
            return result

        return once

    monkeypatch.setattr(ms, "data_sink", stopped)
    monkeypatch.setattr("ms_eff.train.sink._has_queue", lambda: True)
    options = {"epochs": 2, "sink": True, "sink_size": 3, "save_every_steps": 4}
    with pytest.raises(Interrupted):
        trainer(tmp_path / "cut", **options).fit()
    assert calls == [3]
    found = trainer(tmp_path / "cut", **options)
    found.fit()
    assert sorted(found.store.steps()) == [9, 12]  # 4 and 8 were passed within calls; the end
    plain = trainer(tmp_path / "plain", epochs=2)
    plain.fit()
    for name, array in weights(plain.model).items():
        assert np.array_equal(array, weights(found.model)[name]), name
