from __future__ import annotations

from functools import partial

import mindspore as ms
import numpy as np
import pytest
from rich.console import Console

from ms_eff import models
from ms_eff.bench.counts import count
from ms_eff.config import Config
from ms_eff.deploy.export import export
from ms_eff.deploy.graphs import read_graph
from ms_eff.errors import CheckpointError, ConfigError
from ms_eff.experiment import Experiment
from ms_eff.methods.spatiotemporal import apply_spatiotemporal
from ms_eff.models.eco_lite import EcoLite
from ms_eff.models.formats import read_arrays
from ms_eff.models.inception import InceptionA
from ms_eff.train import checkpoint
from tests.tolerances import LAYER


@pytest.fixture(scope="module")
def published():
    return models.build("eco_lite", frames=4)  # a quarter of the work


def test_maps_have_the_paper_s_sizes(published):
    rows = {row.name: row for row in count(published, published.input_shape)}
    sides = {
        "Conv2d_1a_3x3": (32, 121), "Conv2d_2a_3x3": (32, 119), "Conv2d_2b_3x3": (64, 119),
        "Conv2d_3b_1x1": (80, 59), "Conv2d_4a_3x3": (192, 57), "Mixed_5d.branch3x3dbl_3": (96, 28),
    }  # fmt: skip
    for name, (channels, side) in sides.items():
        assert rows[f"net2d.{name}.conv"].output_shape == (4, channels, side, side), name
    assert rows["net2d.Mixed_5b.branch1x1.conv"].input_shape == (4, 192, 28, 28)
    assert rows["net2d.Mixed_5c.branch1x1.conv"].input_shape == (4, 256, 28, 28)
    assert rows["net2d.Mixed_5d.branch3x3dbl_1.conv"].input_shape == (4, 288, 28, 28)
    for stage, size in enumerate(((128, 4, 28), (256, 2, 14), (512, 1, 7))):
        channels, frames, side = size
        found = rows[f"net3d.{stage}.1.conv2.0"].output_shape
        assert found == (1, channels, frames, side, side)
    macs = sum(row.macs for name, row in rows.items() if name.startswith("net3d"))
    assert round(4 * macs / 1e9, 1) == 35.6  # of 16 frames


@pytest.mark.gate
@pytest.mark.parametrize(
    ("variant", "millions"), [("conv3d", 33.7), ("add", 16.3), ("cat", 32.2), ("r2plus1d", 33.7)]
)
def test_parameters_are_the_paper_s(published, variant, millions):
    changed, _, _ = apply_spatiotemporal(published, variant, fresh_seed=0)
    found = sum(parameter.size for parameter in changed.trainable_params())
    assert round(found / 1e6, 1) == millions


@pytest.mark.gate
def test_frames_may_be_folded_already_and_any_batch_is_taken():
    network = models.build("eco_lite_small", frames=4, image_size=8, width=6).set_train(False)
    rng = np.random.default_rng(0)
    clips = rng.standard_normal((3, 4, 3, 8, 8), dtype=np.float32)
    expected = network(ms.Tensor(clips)).asnumpy()
    assert expected.shape == (3, 101)
    found = network(ms.Tensor(clips.reshape(12, 3, 8, 8))).asnumpy()
    np.testing.assert_array_equal(found, expected)


def test_front_takes_the_weights_of_a_whole_inception(published, tmp_path):
    torch = pytest.importorskip("torch")
    from ms_eff.models.naming import NAMINGS

    arrays = {name: p.asnumpy() for name, p in published.net2d.parameters_and_names()}
    theirs = next(named for n in NAMINGS["torchvision"] if (named := n.renamed(arrays)) is not None)
    assert "Mixed_5b.branch5x5_1.bn.running_mean" in theirs
    state = {key: torch.from_numpy(array + 0.5) for key, array in theirs.items()}
    whole = {**state, "Mixed_6a.branch3x3.conv.weight": torch.zeros(2, 2, 3, 3)}
    torch.save(whole, tmp_path / "inception.pth")
    loaded = models.build("eco_lite", front_weights=tmp_path / "inception.pth")
    for name, parameter in loaded.net2d.parameters_and_names():
        np.testing.assert_array_equal(parameter.asnumpy(), arrays[name] + 0.5)
    del state["Mixed_5b.branch1x1.conv.weight"]
    torch.save(state, tmp_path / "less.pth")
    with pytest.raises(CheckpointError, match=r"Mixed_5b.branch1x1.conv.weight' is missing"):
        models.build("eco_lite", front_weights=tmp_path / "less.pth")


@pytest.fixture
def experiment(tmp_path, monkeypatch):
    """An experiment on a narrow ECO-Lite whose front has weights in a file."""
    builder = partial(EcoLite, "inception", (4, 4, 4))
    monkeypatch.setattr("ms_eff.models.eco_lite.eco_lite", builder)
    models.save_weights(builder(in_channels=1, seed=7).net2d, tmp_path / "front.safetensors")
    model = {"name": "eco_lite", "front_weights": tmp_path / "front.safetensors"}
    data = {"name": "motion_digits", "frames": 4, "train_limit": 32, "test_limit": 32}
    config = Config(output=tmp_path / "run", model=model, data=data, train={"epochs": 1})
    return Experiment(config, "test", Console(quiet=True))


def test_front_weights_of_a_config_are_not_needed_to_rebuild_its_checkpoint(experiment, tmp_path):
    file = tmp_path / "front.safetensors"
    model, description, trained = experiment._dense()
    assert not trained
    weights = {p.name: p.asnumpy() for p in model.get_parameters()}
    checkpoint.save(tmp_path / "saved", weights, description)
    front = read_arrays(file)
    file.unlink()
    rebuilt = {p.name: p.asnumpy() for p in checkpoint.rebuild(tmp_path / "saved").get_parameters()}
    for name, array in front.items():
        np.testing.assert_array_equal(rebuilt[f"net2d.{name}"], array, err_msg=name)
    with pytest.raises(CheckpointError, match=r"model\.front_weights = .*: no such file"):
        experiment.untouched_model()


def test_wrong_sizes_are_named():
    with pytest.raises(ConfigError, match="frames: expected at least 1, got 0"):
        models.build("eco_lite_small", frames=0)
    with pytest.raises(ConfigError, match="takes no 'front_weights'"):
        models.build("eco_lite_small", front_weights="x.pth")


@pytest.mark.gate
def test_front_is_exported_without_3d_pooling(tmp_path):
    """MindSpore's padded average pool is a 3D one; both forms give the same."""
    block = InceptionA(np.random.default_rng(0), 6, 4)
    x = ms.Tensor(np.random.default_rng(1).standard_normal((2, 6, 7, 5), dtype=np.float32))
    trained = block.pool.set_train(True)(x).asnumpy()
    expected = np.pad(x.asnumpy(), ((0, 0), (0, 0), (1, 1), (1, 1)))
    expected = sum(expected[:, :, i : i + 7, j : j + 5] for i in range(3) for j in range(3)) / 9
    np.testing.assert_allclose(trained, expected, atol=LAYER)
    np.testing.assert_allclose(block.pool.set_train(False)(x).asnumpy(), expected, atol=LAYER)
    for name in ("n.onnx", "n.mindir"):
        graph = read_graph(export(block, tmp_path / name, x.shape).path)
        ranks = [len(t.shape or ()) for node in graph.nodes for t in node.outputs]
        assert max(ranks) == 4
