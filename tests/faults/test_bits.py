"""One flipped bit anywhere in a checkpoint: found, named, and the checkpoint before it is used."""

import json

import numpy as np
import pytest

from ms_eff.errors import CheckpointError
from ms_eff.train import checkpoint
from ms_eff.train.store import Store

WEIGHTS = {"weight": np.arange(6, dtype=np.float32).reshape(2, 3), "bias": np.zeros(2, np.float32)}
TRAINING = {"step": np.int32(7), "momentum.weight": np.ones((2, 3), np.float32)}
STATE = {"epoch": 3, "step": 12, "loss_sum": 0.1, "history": [{"epoch": 1, "accuracy": 0.25}]}


@pytest.fixture
def store(tmp_path):
    made = Store(tmp_path / "checkpoints", keep=3)
    for step in (6, 12):
        made.save(step, WEIGHTS, {**STATE, "step": step}, TRAINING)
    return made


@pytest.mark.parametrize("name", ["model.safetensors", "training.safetensors", "state.json"])
def test_a_flipped_bit_is_found_named_and_the_checkpoint_before_taken(store, name):
    file = store.path(12) / name
    whole = file.read_bytes()
    values = json.loads(whole) if name == "state.json" else None
    rng = np.random.default_rng(0)
    found = 0
    for place in rng.choice(8 * len(whole), size=60, replace=False):
        damaged = bytearray(whole)
        damaged[place // 8] ^= 1 << (place % 8)
        if values is not None and same_values(bytes(damaged), values):
            continue  # a blank became a tab
        found += 1
        file.write_bytes(damaged)
        with pytest.raises(CheckpointError) as error:
            checkpoint.read(file.parent)
        assert str(file) in str(error.value)
        assert "\n" not in str(error.value)
        taken, complaints = store.latest()
        assert taken is not None
        assert (taken.path, taken.state["step"]) == (store.path(6), 6)
        assert [str(file) in line for line in complaints] == [True]
    assert found > 30


def same_values(text: bytes, values: object) -> bool:
    try:
        return bool(json.loads(text) == values)
    except ValueError:
        return False


def test_who_asks_for_a_damaged_checkpoint_is_offered_another(store):
    file = store.path(12) / "state.json"
    file.write_text(file.read_text().replace('"epoch": 3', '"epoch": 2'))
    with pytest.raises(CheckpointError, match=r"state\.json: damaged.*such as .*step-00000006"):
        checkpoint.read(file.parent)


def test_checkpoints_of_versions_that_had_no_sum_of_the_state_are_read(store):
    file = store.path(12) / "state.json"
    state = json.loads(file.read_text())
    del state["sha256"]
    file.write_text(json.dumps({**state, "format": 1}))
    assert checkpoint.read(file.parent).state["epoch"] == 3
    file.write_text(json.dumps(state))  # today's have one
    with pytest.raises(CheckpointError, match="damaged"):
        checkpoint.read(file.parent)
