"""The Python twin, run by MindSpore itself: MindSpore Lite has no wheel for this Python."""

from __future__ import annotations

import importlib
import os
import sys
from pathlib import Path

import mindspore as ms
import numpy as np
import pytest
from PIL import Image

from ms_eff.data.image_folder import FolderSplit
from ms_eff.deploy.export import export
from tests.ascend_scripts.bad_files import BAD, GOOD, SHAPE, add_samples, check_predictions, fill
from tests.deploy.test_export import ConvNet

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "ascend_scripts" / "infer_310"))
infer = importlib.import_module("infer")
samples = importlib.import_module("infer_samples")
sys.path.pop(0)


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> tuple[ConvNet, Path]:
    network = ConvNet()
    path = tmp_path_factory.mktemp("model") / "net.mindir"
    return network.set_train(False), export(network, path, (4, *SHAPE)).path


def call(model: Path, folder: Path, *words: object) -> int:
    return infer.main(
        ["--runtime", "mindspore", "--model", str(model), "--input", str(folder), *map(str, words)]
    )


def test_predictions_of_a_folder_with_bad_files(model, tmp_path, capsys):
    network, file = model
    folder = fill(tmp_path / "in", good=0)
    x = add_samples(folder)
    names = ["a", "b,c", "d", "e", "f"]
    (tmp_path / "names").write_text("\n".join(names) + "\n")
    words = ["--output", tmp_path / "out.csv", "--outputs", tmp_path / "whole", "--top", 2]
    assert call(file, folder, *words, "--labels", tmp_path / "names") == 0
    told = capsys.readouterr().err
    expected = network(ms.Tensor(x)).asnumpy()
    check_predictions(tmp_path / "out.csv", tmp_path / "whole", expected, names)
    for name, (_, _, reason) in BAD.items():
        assert f"skipped {name}.npy: {reason}" in told
    assert f"predicted: 6, skipped: {len(BAD)}, neither .npy nor pictures: 1" in told
    assert "latency of a batch of 4, ms: p50 " in told


def test_a_bad_file_fails_by_flag_and_leaves_no_csv(model, tmp_path, capsys):
    folder = fill(tmp_path / "in")
    assert call(model[1], folder, "--output", tmp_path / "out.csv", "--on-bad-file", "fail") == 2
    assert "a dictionary of more.npy: damaged" in capsys.readouterr().err
    assert not list(tmp_path.glob("out.csv*"))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--input", "missing"], "--input missing: No such file or directory"),
        (["--input", "empty"], "no .npy file and no picture in it"),
        (["--model", "no.mindir"], "--model no.mindir: expected a file ending in .mindir"),
        (["--labels", "none"], "--labels none: No such file or directory"),
        (["--batch", "3"], "its input is (4, 3, 4, 5); give --batch for a free batch axis"),
        (["--runtime", "lite"], "--runtime lite: mindspore_lite cannot be imported"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(
    model, tmp_path, monkeypatch, capsys, words, message
):
    monkeypatch.setitem(sys.modules, "mindspore_lite", None)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    folder = fill(tmp_path / "in")
    assert call(model[1], folder, *words) == 2
    told = capsys.readouterr().err
    assert message in told
    assert told.count("\n") == 1


def test_a_free_batch_axis_takes_the_batch_that_is_asked_for(tmp_path, capsys):
    path = export(ConvNet(), tmp_path / "net.mindir", (2, *SHAPE), dynamic_batch=True).path
    folder = fill(tmp_path / "in", good=5)
    assert call(path, folder, "--batch", 3, "--warmup", 0) == 0
    assert "batch of 3" in capsys.readouterr().err


def test_pictures_come_as_the_data_pipeline_has_them(tmp_path):
    rng = np.random.default_rng(0)
    path = tmp_path / "a.png"
    Image.fromarray(rng.integers(0, 256, (40, 61, 3), dtype=np.uint8)).save(path)
    mean, std = (0.4, 0.5, 0.6), (0.2, 0.3, 0.4)
    split = FolderSplit([str(path)], np.zeros(1, np.int32), ("a", "b"), image_size=24, mean=mean,
                        std=std)  # fmt: skip
    expected = split.batch(np.array([0]))[0][0]
    found = samples.read_sample(str(path), (3, 24, 24), "float32", [*mean], [*std])
    np.testing.assert_allclose(found, expected, atol=1e-5)
    last = samples.read_sample(str(path), (24, 24, 3), "uint8", [0.0], [1.0])
    plain = samples.read_sample(str(path), (3, 24, 24), "float32", [0.0], [1.0])
    np.testing.assert_allclose(last.transpose(2, 0, 1) / 255, plain, atol=1e-6)
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(samples.BadFile, match="cannot be decoded"):
        samples.read_sample(str(path), (3, 24, 24), "float32", [0.0], [1.0])
    with pytest.raises(samples.BadFile, match="a picture, and the network takes samples of"):
        samples.read_sample(str(path), (4, 3, 24, 24), "float32", [0.0], [1.0])


def test_bytes_of_clips_are_normalised_along_their_channels(tmp_path):
    clip = np.random.default_rng(0).integers(0, 256, (4, 3, 5, 6), dtype=np.uint8)
    np.save(tmp_path / "clip.npy", clip)
    mean, std = [0.1, 0.2, 0.3], [0.5, 0.6, 0.7]
    found = samples.read_sample(str(tmp_path / "clip.npy"), clip.shape, "float32", mean, std)
    for c in range(3):
        np.testing.assert_allclose(found[:, c], (clip[:, c] / 255 - mean[c]) / std[c], rtol=1e-6)
    with pytest.raises(samples.BadFile, match="--mean and --std are for 2 channels"):
        samples.read_sample(str(tmp_path / "clip.npy"), clip.shape, "float32", [0, 0], [1, 1])


def test_a_pipe_is_no_sample_and_any_file_name_comes_into_the_csv(tmp_path):
    folder = fill(tmp_path / "in", good=0)
    for name in BAD:
        (folder / f"{name}.npy").unlink()
    os.mkfifo(folder / "pipe.npy")
    (folder / "nowhere.npy").symlink_to("missing")
    assert samples.files_of(str(folder)) == (["nowhere.npy"], 2)
    odd = os.fsdecode(b"\xff.npy")
    (folder / odd).write_bytes(GOOD)
    path = export(ConvNet(), tmp_path / "net.mindir", (1, *SHAPE)).path
    assert call(path, folder, "--output", tmp_path / "out.csv") == 0
    assert (tmp_path / "out.csv").read_bytes().splitlines()[1].startswith(b"\xff.npy,")
