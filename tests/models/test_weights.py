from __future__ import annotations

import numpy as np
import pytest
from mindspore import nn

from ms_eff import models
from ms_eff.errors import CheckpointError, ConfigError
from ms_eff.models.formats import read_arrays, write_arrays

VIT = {"image_size": 8, "patch_size": 4, "dim": 8, "depth": 2, "heads": 2, "num_classes": 5}


def _network(seed: int = 0, **args) -> nn.Cell:
    return models.build("resnet18", **{"width": 2, "num_classes": 3, "seed": seed, **args})


def _arrays(cell: nn.Cell) -> dict[str, np.ndarray]:
    return {name: p.asnumpy() for name, p in cell.parameters_and_names()}


@pytest.mark.parametrize("suffix", [".safetensors", ".ckpt"])
@pytest.mark.parametrize("naming", ["ours", "torchvision", "hf", "mindcv"])
def test_saved_weights_come_back_bit_for_bit(naming, suffix, tmp_path) -> None:
    saved = _network(seed=1)
    saved.bn1.moving_mean.set_data(saved.bn1.moving_mean + 0.5)
    models.save_weights(saved, tmp_path / f"w{suffix}", naming=naming)
    loaded = _network(seed=2)
    notes = models.load_weights(loaded, tmp_path / f"w{suffix}")
    assert notes[0] == f"w{suffix}: 102 arrays, {naming} names"
    for name, array in _arrays(saved).items():
        np.testing.assert_array_equal(_arrays(loaded)[name], array)


@pytest.mark.parametrize("naming", ["ours", "timm", "hf"])
def test_saved_vit_weights_come_back_bit_for_bit(naming, tmp_path) -> None:
    saved, loaded = (models.build("vit", **VIT, seed=seed) for seed in (1, 2))
    saved.norm.gamma.set_data(saved.norm.gamma + 0.5)
    models.save_weights(saved, tmp_path / "w.safetensors", naming=naming)
    notes = models.load_weights(loaded, tmp_path / "w.safetensors")
    assert notes == [f"w.safetensors: 32 arrays, {naming} names"]
    for name, array in _arrays(saved).items():
        np.testing.assert_array_equal(_arrays(loaded)[name], array)


def test_bare_hf_vit_gives_all_but_the_head(tmp_path) -> None:
    models.save_weights(models.build("vit", **VIT, seed=1), tmp_path / "w.ckpt", naming="hf")
    arrays = {k.removeprefix("vit."): a for k, a in read_arrays(tmp_path / "w.ckpt").items()}
    bare = {k: a for k, a in arrays.items() if "classifier" not in k}
    write_arrays(tmp_path / "bare.ckpt", bare | {"pooler.dense.weight": np.zeros((4, 4))})
    network = models.build("vit", **VIT)
    notes = models.load_weights(network, tmp_path / "bare.ckpt", strict=False)
    assert notes[1:] == ["left out: 'head.weight' is missing", "left out: 'head.bias' is missing"]


def test_positions_of_no_square_grid_are_misshapen(tmp_path) -> None:
    network = models.build("vit", **VIT)
    write_arrays(tmp_path / "w.ckpt", _arrays(network) | {"pos_embed": np.zeros((1, 8, 8))})
    needle = "'pos_embed' expected shape (1, 5, 8), found (1, 8, 8)"
    _refused(network, tmp_path / "w.ckpt", needle)


def test_saved_torchvision_names_load_into_the_torch_twin(tmp_path) -> None:
    pytest.importorskip("torch")
    from safetensors.torch import load_file

    from cross_check.twins.resnet import plain_resnet

    models.save_weights(_network(), tmp_path / "w.safetensors", naming="torchvision")
    twin = plain_resnet("basic", [2, 2, 2, 2], width=2, num_classes=3)
    twin.load_state_dict(load_file(tmp_path / "w.safetensors"), strict=True)


def test_half_precision_weights_are_cast(tmp_path) -> None:
    arrays = {k: v.astype(np.float16) for k, v in _arrays(_network(seed=1)).items()}
    write_arrays(tmp_path / "w.safetensors", arrays)
    network = _network()
    models.load_weights(network, tmp_path / "w.safetensors")
    found = _arrays(network)["conv1.weight"]
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, arrays["conv1.weight"].astype(np.float32))


def _refused(cell: nn.Cell, path, *needles: str) -> None:
    before = _arrays(cell)
    with pytest.raises(CheckpointError) as caught:
        models.load_weights(cell, path)
    message = str(caught.value)
    assert "\n" not in message
    for needle in (str(path), *needles):
        assert needle in message
    for name, array in _arrays(cell).items():
        np.testing.assert_array_equal(array, before[name])


def test_other_number_of_classes_names_both_shapes(tmp_path) -> None:
    models.save_weights(_network(num_classes=5), tmp_path / "w.ckpt")
    _refused(_network(), tmp_path / "w.ckpt", "'fc.weight' expected shape (3, 16), found (5, 16)")


def test_weights_of_another_model_name_the_first_of_each_kind(tmp_path) -> None:
    models.save_weights(_network(), tmp_path / "w.safetensors", naming="hf")
    needles = (
        "'layer1.0.conv1.weight' expected shape",
        "'layer1.0.conv3.weight' is missing",
        "strict=False",
    )
    _refused(models.build("resnet50", width=2), tmp_path / "w.safetensors", *needles)


def test_unexpected_array_is_named(tmp_path) -> None:
    write_arrays(tmp_path / "w.safetensors", _arrays(_network()) | {"extra": np.zeros(2)})
    _refused(_network(), tmp_path / "w.safetensors", "'extra' is unexpected")


def test_foreign_file_fits_nowhere(tmp_path) -> None:
    write_arrays(tmp_path / "w.safetensors", {"x": np.zeros(3)})
    _refused(_network(), tmp_path / "w.safetensors", "0 of 102 arrays fit", "'x' is unexpected")
    with pytest.raises(CheckpointError):
        models.load_weights(_network(), tmp_path / "w.safetensors", strict=False)


def test_truncated_file_changes_nothing(tmp_path) -> None:
    file = tmp_path / "w.safetensors"
    models.save_weights(_network(seed=1), file)
    file.write_bytes(file.read_bytes()[:-100])
    _refused(_network(), file, "damaged or cut short")


def test_lenient_loading_says_what_it_left_out(tmp_path) -> None:
    saved = _network(seed=1, num_classes=5)
    models.save_weights(saved, tmp_path / "w.safetensors", naming="torchvision")
    network = _network(seed=2)
    before = _arrays(network)
    notes = models.load_weights(network, tmp_path / "w.safetensors", strict=False)
    assert notes[0] == "w.safetensors: 100 arrays, torchvision names"
    assert notes[1] == "left out: 'fc.weight' expected shape (3, 16), found (5, 16)"
    assert len(notes) == 3
    found = _arrays(network)
    np.testing.assert_array_equal(found["fc.weight"], before["fc.weight"])
    np.testing.assert_array_equal(found["conv1.weight"], _arrays(saved)["conv1.weight"])


def test_mindcv_weights_come_with_a_note_on_padding(tmp_path) -> None:
    models.save_weights(_network(), tmp_path / "w.ckpt", naming="mindcv")
    assert "max pool" in models.load_weights(_network(), tmp_path / "w.ckpt")[1]


def test_unknown_naming_offers_the_nearest(tmp_path) -> None:
    with pytest.raises(ConfigError, match="did you mean 'torchvision'"):
        models.save_weights(_network(), tmp_path / "w.safetensors", naming="torchvison")
    assert not list(tmp_path.iterdir())


def test_parameter_without_a_name_there_is_refused(tmp_path) -> None:
    with pytest.raises(CheckpointError, match="'weight' has no name in hf's naming"):
        models.save_weights(nn.Dense(2, 2), tmp_path / "w.safetensors", naming="hf")
    network = models.build("vit", **VIT, pool="mean")
    with pytest.raises(CheckpointError, match=r"'fc_norm\.gamma' has no name in hf's naming"):
        models.save_weights(network, tmp_path / "w.safetensors", naming="hf")
    assert not list(tmp_path.iterdir())


def test_scalar_parameters_survive_ckpt(tmp_path) -> None:
    import mindspore as ms

    cell = nn.Cell()
    cell.scale = ms.Parameter(ms.Tensor(2.5, ms.float32), name="scale")
    models.save_weights(cell, tmp_path / "w.ckpt")
    cell.scale.set_data(ms.Tensor(0.0, ms.float32))
    models.load_weights(cell, tmp_path / "w.ckpt")
    assert float(cell.scale) == 2.5
