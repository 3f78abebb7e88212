import json

import numpy as np
import pytest
from mindspore import nn

import ms_eff
from ms_eff.errors import CheckpointError
from ms_eff.train import checkpoint

WEIGHTS = {"weight": np.arange(6, dtype=np.float32).reshape(2, 3), "bias": np.zeros(2, np.float32)}
TRAINING = {"step": np.int32(7), "momentum.weight": np.ones((2, 3), np.float32)}


def save(folder, **changes):
    return checkpoint.save(folder / "one", WEIGHTS, {"epoch": 3, **changes}, TRAINING)


def test_comes_back_as_it_was(tmp_path):
    found = checkpoint.read(save(tmp_path))
    assert found.state["epoch"] == 3
    for name, array in WEIGHTS.items():
        assert np.array_equal(found.weights[name], array)
    assert found.training["step"].shape == ()
    assert [p.name for p in tmp_path.iterdir()] == ["one"]


def test_transposed_arrays_come_back_right(tmp_path):
    turned = {"weight": np.arange(6, dtype=np.float32).reshape(3, 2).T}
    path = checkpoint.save(tmp_path / "one", turned, {})
    assert np.array_equal(checkpoint.read(path).weights["weight"], turned["weight"])


def test_saving_again_replaces_the_folder(tmp_path):
    save(tmp_path)
    assert checkpoint.read(save(tmp_path, epoch=4)).state["epoch"] == 4
    assert [p.name for p in tmp_path.iterdir()] == ["one"]


@pytest.mark.parametrize("name", ["model.safetensors", "training.safetensors"])
@pytest.mark.parametrize("damage", ["truncate", "flip", "remove"])
def test_damage_is_refused_by_the_files_name(tmp_path, name, damage):
    file = save(tmp_path) / name
    data = bytearray(file.read_bytes())
    if damage == "remove":
        file.unlink()
    elif damage == "truncate":
        file.write_bytes(data[:-3])
    else:
        data[-1] ^= 1
        file.write_bytes(data)
    with pytest.raises(CheckpointError, match=name):
        checkpoint.read(file.parent)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"format": 1}', '{"format": 9, "files": {}}'])
def test_a_bad_state_file_is_refused_by_name(tmp_path, text):
    file = save(tmp_path) / "state.json"
    file.write_text(text)
    with pytest.raises(CheckpointError, match=r"state\.json"):
        checkpoint.read(file.parent)


def test_no_checkpoint_says_so(tmp_path):
    with pytest.raises(CheckpointError, match="no checkpoint here"):
        checkpoint.read(tmp_path)


@pytest.mark.parametrize(
    ("weights", "named"),
    [
        ({"weight": WEIGHTS["weight"]}, "'bias' is missing"),
        ({**WEIGHTS, "more": WEIGHTS["bias"]}, "it has 'more'"),
        ({**WEIGHTS, "bias": np.zeros(5, np.float32)}, r"'bias' is \(5,\)"),
    ],
)
def test_weights_of_another_model_are_refused_and_nothing_is_loaded(weights, named):
    cell = nn.Dense(3, 2)
    before = cell.weight.asnumpy().copy()
    with pytest.raises(CheckpointError, match=named):
        checkpoint.assign(cell, weights, "x.ckpt")
    assert np.array_equal(cell.weight.asnumpy(), before)


def test_a_full_disk_leaves_the_old_checkpoint_and_no_scraps(tmp_path, small_disk):
    path = save(tmp_path)
    large = {"weight": np.zeros(10_000, np.float32)}
    with small_disk(4000), pytest.raises(CheckpointError, match="cannot be written"):
        checkpoint.save(path, large, {})
    assert checkpoint.read(path).state["epoch"] == 3
    assert [p.name for p in tmp_path.iterdir()] == ["one"]


def test_an_unwritable_place_is_one_clear_error(tmp_path):
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(CheckpointError, match="cannot be written"):
        checkpoint.save(tmp_path / "file" / "one", WEIGHTS, {})


def test_a_compressed_model_rebuilds_from_plan_and_weights(tmp_path):
    args = {"num_classes": 4, "in_channels": 1, "width": 8, "stem": "cifar"}
    dense = ms_eff.build_model("resnet18", **args, seed=1)
    compressed, plan, _ = ms_eff.apply_lowrank(dense, ratio=2.0)
    weights = {p.name: p.asnumpy() for p in compressed.get_parameters()}
    described = {
        "model": {"name": "resnet18", "args": args},
        "plans": [{"method": "lowrank", "plan": plan.to_json()}],
    }
    path = checkpoint.save(tmp_path / "one", weights, described)
    assert json.loads((path / "state.json").read_text())["plans"]
    again = ms_eff.load(path)
    for name, parameter in again.parameters_and_names():
        assert np.array_equal(parameter.asnumpy(), weights[name]), name
