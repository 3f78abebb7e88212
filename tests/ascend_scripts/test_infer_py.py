"""The Python twin, run by MindSpore itself: MindSpore Lite has no wheel for this Python."""

from __future__ import annotations

import importlib
import os
import signal
import sys
from pathlib import Path

import mindspore as ms
import numpy as np
import pytest
from PIL import Image

from ms_eff.data.image_folder import FolderSplit
from ms_eff.deploy.export import export
from tests.ascend_scripts.bad_files import BAD, GOOD, SHAPE, add_samples, check_predictions, fill
from tests.ascend_scripts.wrong_flags import WRONG, workplace
from tests.deploy.test_export import ConvNet

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "ascend_scripts" / "infer_310"))
infer = importlib.import_module("infer")
flags = importlib.import_module("infer_flags")
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
        (["--model", "net.ms"], "--model net.ms: expected .mindir, as `ms-eff export` writes it"),
        (["--threads", "2"], "--threads: for --runtime lite only"),
        (["--batch", "3"], "its input is (4, 3, 4, 5); give --batch for a free batch axis"),
        (["--runtime", "lite"], "--runtime lite: mindspore_lite cannot be imported"),
        (["--mean", "1,2"], "for 2 channels, and the network takes samples of (3, 4, 5)"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(
    model, tmp_path, monkeypatch, capsys, words, message
):
    monkeypatch.setitem(sys.modules, "mindspore_lite", None)
    monkeypatch.chdir(tmp_path)
    folder = fill(tmp_path / "in")
    assert call(model[1], folder, *words) == 2
    told = capsys.readouterr().err
    assert message in told
    assert told.count("\n") == 1


@pytest.mark.parametrize(("words", "message"), WRONG)
def test_wrong_flags_are_refused_in_the_words_of_the_twin(
    tmp_path, monkeypatch, capsys, words, message
):
    monkeypatch.chdir(workplace(tmp_path))
    assert infer.main(["--model", "net.mindir", "--input", "in", *words]) == 2
    assert capsys.readouterr().err == f"infer.py: {message}\n"
    assert not list(tmp_path.glob("*.partial"))


def test_flags_are_taken_with_and_without_an_equals_sign():
    words = ["--mean=-1.5e0,.5,5.", "--std", "2", "--top", "3", "--on-bad-file=fail"]
    found = flags.read_flags([*words, "--warmup", "0"])
    assert (found.mean, found.std, found.top) == ([-1.5, 0.5, 5.0], [2.0], 3)
    assert (found.on_bad_file, found.warmup, found.batch) == ("fail", 0, 0)
    assert all(f"  {name} " in flags.help_text() for name in flags.FLAGS)


class Sums:
    """A network of two token ids a sample; batch 4, far more than there are files."""

    shape, dtype, axes = (4, 2), "int64", (4, 1)

    def __init__(self, options: object) -> None: ...

    def predict(self, batch: np.ndarray) -> np.ndarray:
        return batch.sum(1).reshape(self.axes)


def call_sums(folder: Path, *words: str) -> int:
    return infer.main(["--model", "-", "--input", str(folder), "--warmup", "0", *words])


@pytest.fixture
def two_samples(tmp_path, monkeypatch) -> Path:
    monkeypatch.setitem(infer.RUNTIMES, "lite", Sums)
    (tmp_path / "in").mkdir()
    for name in ("a", "b"):
        np.save(tmp_path / "in" / f"{name}.npy", np.array([3, ord(name)]))
    return tmp_path / "in"


@pytest.mark.parametrize("axes", [(4, 1), (4,), (4, 1, 1)])
def test_a_network_of_ids_and_a_batch_that_is_not_full(two_samples, monkeypatch, capsys, axes):
    monkeypatch.setattr(Sums, "axes", axes)
    (two_samples / "b.png").touch()
    assert call_sums(two_samples) == 0
    said = capsys.readouterr()
    assert said.out == "file,class_1,score_1\na.npy,0,100\nb.npy,0,101\n"
    assert "skipped b.png: a picture, and the network takes samples of (2,)" in said.err
    assert "latency of a batch of 4" in said.err
    assert call_sums(two_samples, "--std", "2") == 2
    assert "the network takes int64 as it comes; leave them out" in capsys.readouterr().err
    monkeypatch.setattr(Sums, "axes", (2, 2))
    assert call_sums(two_samples) == 2
    assert "output (2, 2) is not one of 4 samples" in capsys.readouterr().err


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_leaves_no_csv(two_samples, tmp_path, monkeypatch, capsys, number, code):
    monkeypatch.setattr(Sums, "__init__", lambda self, options: os.kill(os.getpid(), number))
    (tmp_path / "out.csv").write_text("an earlier one")
    before = signal.getsignal(number)
    assert call_sums(two_samples, "--output", str(tmp_path / "out.csv")) == code
    assert signal.getsignal(number) == before
    assert "infer.py: stopped by " in capsys.readouterr().err
    assert (tmp_path / "out.csv").read_text() == "an earlier one"
    assert not list(tmp_path.glob("*.partial"))


@pytest.mark.gate
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
    np.save(tmp_path / "large.npy", np.full((2, 3), 65520, np.float32))
    with pytest.raises(samples.BadFile, match="too large for float16: 6 of 6 values"):
        samples.read_sample(str(tmp_path / "large.npy"), (2, 3), "float16", [0.0], [1.0])


@pytest.mark.gate
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
