"""The device's queue exists on Ascend only; a plain loop stands in for it here, and says so."""

import mindspore as ms
import numpy as np
import pytest

from ms_eff.errors import ConfigError
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
    for name, array in weights(plain.model).items():
        assert np.array_equal(array, weights(sunk.model)[name]), name
