"""The C++ application: what it takes and refuses, and its predictions where MindSpore Lite is."""

from __future__ import annotations

import io
import os
import shutil
import signal
import subprocess
from pathlib import Path

import mindspore as ms
import numpy as np
import pytest
from PIL import Image

from ms_eff.data.image_folder import FolderSplit
from ms_eff.deploy.export import export
from ms_eff.deploy.lite import Lite, build_programs
from ms_eff.errors import SetupError
from tests.ascend_scripts.bad_files import BAD, GOOD, SHAPE, add_samples, check_predictions, fill
from tests.ascend_scripts.wrong_flags import WRONG, workplace
from tests.deploy.test_export import ConvNet
from tests.lite import lite_or_skip
from tests.tolerances import EXPORT

SOURCES = Path(__file__).resolve().parents[2] / "ascend_scripts" / "infer_310"


def call(*words: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(word) for word in words], capture_output=True, text=True)


@pytest.fixture(scope="module")
def check_inputs(tmp_path_factory) -> Path:
    try:
        return build_programs(tmp_path_factory.mktemp("programs"), ["check_inputs"])[0]
    except SetupError as error:
        pytest.skip(str(error))


@pytest.mark.gate
def test_every_bad_file_is_named_with_its_reason_and_good_ones_are_taken(check_inputs, tmp_path):
    folder = fill(tmp_path / "a folder")
    done = call(check_inputs, "--input", folder, "--shape", "3,4,5")
    assert done.returncode == 1
    said = dict(line.split(".npy: ", 1) for line in done.stdout.splitlines() if ".npy: " in line)
    for name, (_, reason, _) in BAD.items():
        assert said[name].startswith("BAD, "), name
        assert reason in said[name], name
    assert said["z0"] == "good, 240 bytes"
    assert f"files: {len(BAD) + 2}, bad: {len(BAD)}, neither .npy nor pictures: 1" in done.stdout
    done = call(check_inputs, f"--input={folder}", "--shape=3,4,5", "--on-bad-file", "fail")
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1


OWN = ("--input", "--mean", "--std", "--on-bad-file", "--help", "--inptu", "x")  # in any program
SHAPED = ["--input", "in", "--shape", "3,4,5"]


@pytest.mark.gate
@pytest.mark.parametrize(
    ("words", "message"),
    [
        *((SHAPED + words, said) for words, said in WRONG if words[0].partition("=")[0] in OWN),
        (["--input", "locked", "--shape", "1"], "--input locked: Permission denied"),
        (["--shape", "1"], "--input and --shape are needed"),
        (["--input", "in", "--shape", "3,x"], "--shape: 'x', expected a whole number from 1"),
        ([*SHAPED, "--dtype", "float"], "--dtype: 'float', expected float32 or float16 or"),
        ([*SHAPED, "--dtype", "uint8", "--std", "2"], "takes uint8 as it comes; leave them out"),
        ([*SHAPED, "--mean", "1,2"], "for 2 channels, and the network takes samples of (3, 4, 5)"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(check_inputs, tmp_path, words, message):
    if "locked" in words and os.geteuid() == 0:
        pytest.skip("root may read any folder")
    (workplace(tmp_path) / "locked").mkdir(mode=0)
    done = subprocess.run([check_inputs, *words], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 2
    assert message in done.stderr
    assert done.stderr.count("\n") == 1
    assert done.stdout == ""


@pytest.mark.gate
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_stops_between_two_files(check_inputs, tmp_path, number, code):
    for index in range(500):  # more lines than a pipe holds, so that it waits for a reader
        (tmp_path / f"{index:0200d}.npy").write_bytes(GOOD)
    words = [check_inputs, "--input", tmp_path, "--shape", "3,4,5"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as run:
        run.stdout.read(1)
        run.send_signal(number)
        told, complaint = run.communicate(timeout=60)
    assert run.returncode == code
    assert complaint.startswith("check_inputs: stopped by ")
    assert 0 < told.count(": good") < 500


@pytest.mark.gate
def test_types_of_the_network_decide_what_is_good(check_inputs, tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    for dtype in ("float32", "uint8", "int32", "int64"):
        np.save(folder / f"{dtype}.npy", np.zeros((1, 2, 3), dtype))
    for wanted, good in {
        "float32": {"float32", "uint8"},
        "float16": {"float32", "uint8"},
        "uint8": {"uint8"},
        "int32": {"int32"},
    }.items():
        done = call(check_inputs, "--input", folder, "--shape", "2,3", "--dtype", wanted)
        found = {line.split(".")[0] for line in done.stdout.splitlines() if ": good" in line}
        assert found == good
    np.save(folder / "large.npy", np.full((2, 3), 65520, np.float32))
    for wanted, said in (
        ("float16", "BAD, too large for float16: 6 of 6 values"),
        ("float32", "good"),
    ):
        done = call(check_inputs, "--input", folder, "--shape", "2,3", "--dtype", wanted)
        assert f"large.npy: {said}" in done.stdout
    os.mkfifo(folder / "pipe.npy")
    (folder / "a.jpg").write_bytes(b"no picture")
    done = call(check_inputs, "--input", folder, "--shape", "3,8,8")
    assert "a.jpg: BAD, a picture, and this program was built without OpenCV" in done.stdout
    assert "neither .npy nor pictures: 1" in done.stdout


HALVES = """
#include "samples.h"
#include <cstdio>
int main() {
  float value;
  while (std::fread(&value, 4, 1, stdin) == 1) {
    const uint16_t half = infer::ToHalf(value);
    const float back = infer::FromHalf(half);
    std::fwrite(&half, 2, 1, stdout);
    std::fwrite(&back, 4, 1, stdout);
  }
}
"""


@pytest.mark.slow
def test_halves_are_those_of_numpy(tmp_path):
    if shutil.which("c++") is None:
        pytest.skip("c++: no compiler here")
    (tmp_path / "halves.cpp").write_text(HALVES)
    parts = [tmp_path / "halves.cpp", *(SOURCES / f"{n}.cpp" for n in ("samples", "images", "npy"))]
    program = tmp_path / "halves"
    done = call("c++", "-std=c++17", "-O1", f"-I{SOURCES}", *parts, "-o", program)
    assert done.returncode == 0, done.stderr
    rng = np.random.default_rng(0)
    bits = rng.integers(0, 2**32, 100_000, dtype=np.uint32)
    steps = np.arange(0, 2**16, dtype=np.uint16).view(np.float16).astype(np.float32)
    finite = np.sort(steps[np.isfinite(steps)])
    ties = (finite[:-1] + finite[1:]) / 2  # where rounding to even shows
    values = np.concatenate([bits.view(np.float32), steps, ties]).astype(np.float32)
    out = subprocess.run([program], input=values.tobytes(), capture_output=True).stdout
    found = np.frombuffer(out, np.dtype([("half", "<f2"), ("back", "<f4")]))
    with np.errstate(all="ignore"):
        expected = values.astype(np.float16)
    np.testing.assert_array_equal(found["half"], expected)  # NaN equals NaN here
    np.testing.assert_array_equal(found["back"], expected.astype(np.float32))


@pytest.fixture(scope="module")
def lite() -> Lite:
    return lite_or_skip()


@pytest.fixture(scope="module")
def model(lite, tmp_path_factory) -> tuple[ConvNet, Path]:
    """Return a network and what Lite's converter makes of it, at batch 4."""
    network = ConvNet()
    folder = tmp_path_factory.mktemp("model")
    file = export(network, folder / "net.onnx", (4, *SHAPE)).path
    return network.set_train(False), lite.convert(file, folder / "net_lite")


@pytest.mark.slow
def test_predictions_of_a_folder_with_bad_files(lite, model, tmp_path):
    network, file = model
    folder = fill(tmp_path / "in", good=0)
    x = add_samples(folder)
    words = ["--model", file, "--input", folder, "--output", tmp_path / "out.csv", "--top", 2]
    words += ["--outputs", tmp_path / "whole", "--labels", tmp_path / "names"]
    names = ["a", "b,c", "d", "e", "f"]
    (tmp_path / "names").write_text("\n".join(names) + "\n")
    done = lite.call(lite.application, *map(str, words))
    assert done.returncode == 0, done.stderr
    expected = network(ms.Tensor(x)).asnumpy()
    check_predictions(tmp_path / "out.csv", tmp_path / "whole", expected, names)
    for name, (_, reason, _) in BAD.items():
        assert f"skipped {name}.npy: " in done.stderr
        assert reason in done.stderr
    assert f"predicted: 6, skipped: {len(BAD)}, neither .npy nor pictures: 1" in done.stderr
    assert "latency of a batch of 4, ms: p50 " in done.stderr
    assert "throughput: " in done.stderr


@pytest.mark.slow
def test_wrong_flags_are_refused_in_the_words_of_the_twin(lite, tmp_path, monkeypatch):
    workplace(tmp_path)
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path))
    for words, message in WRONG:
        done = lite.call(lite.application, "--model", "net.mindir", "--input", "in", *words)
        assert (done.returncode, done.stderr) == (2, f"infer_310: {message}\n"), words
    assert not list(tmp_path.glob("*.partial"))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["--on-bad-file", "fail"], 2, "a dictionary of more.npy: unknown key 'descx'"),
        (["--model", "missing.mindir"], 2, "--model missing.mindir: cannot be opened"),
        (["--model", "net.om"], 2, "--model net.om: expected .mindir or .ms"),
        (["--labels", "two"], 2, "--labels: 2 names, the network has 5 classes"),
        (["--output", "no/such/folder.csv"], 2, "--output no/such/folder.csv: cannot be written"),
        (["--model", "broken.mindir"], 1, "infer_310: build: "),
    ],
)
def test_failures_leave_no_csv(lite, model, tmp_path, monkeypatch, words, code, message):
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path))
    folder = fill(tmp_path / "in")
    (tmp_path / "two").write_text("a\nb\n")
    (tmp_path / "broken.mindir").write_bytes(b"broken")
    given = {"--model": model[1], "--input": folder, "--output": tmp_path / "out.csv"}
    given |= dict(zip(words[::2], words[1::2], strict=True))
    done = lite.call(lite.application, *(str(word) for pair in given.items() for word in pair))
    assert done.returncode == code, done.stderr
    assert message in done.stderr
    assert not list(tmp_path.glob("out.csv*"))


@pytest.mark.slow
def test_pictures_come_as_the_data_pipeline_has_them(lite, tmp_path):
    program = build_programs(tmp_path, ["infer_310"], lite.folder, pictures=True)[0]
    if "decoded by OpenCV" not in lite.call(program, "--help").stdout:
        pytest.skip("OpenCV: CMake finds none here")
    folder, rng = tmp_path / "in", np.random.default_rng(0)
    folder.mkdir()
    # as high as the pipeline makes it: the middle is cut out, no pixel is resampled
    noise = rng.integers(0, 256, (27, 41, 3), dtype=np.uint8)
    # resampled: filters differ, which a smooth picture hardly shows
    slope = np.add.outer(np.arange(83), np.arange(64))[..., None] + np.array([0, 40, 90])
    for name, pixels in (("cut", noise), ("sized", slope.astype(np.uint8))):
        Image.fromarray(pixels).save(folder / f"{name}.png")
    (folder / "short.png").write_bytes((folder / "cut.png").read_bytes()[:100])
    for name, progressive in (("whole1", False), ("whole2", True)):
        stream = io.BytesIO()
        Image.fromarray(noise).save(stream, "JPEG", progressive=progressive)
        (folder / f"{name}.jpg").write_bytes(stream.getvalue())
        (folder / f"half{name}.jpg").write_bytes(stream.getvalue()[: len(stream.getvalue()) // 2])
    mean, std = (0.4, 0.5, 0.6), (0.2, 0.3, 0.4)
    network = ConvNet()
    file = export(network, tmp_path / "net.onnx", (1, 3, 24, 24)).path
    words = ["--model", lite.convert(file, tmp_path / "lite"), "--input", folder]
    words += ["--outputs", tmp_path / "whole", "--output", tmp_path / "out.csv"]
    words += ["--mean", ",".join(map(str, mean)), "--std", ",".join(map(str, std))]
    done = lite.call(program, *map(str, words))
    assert done.returncode == 0, done.stderr
    assert "skipped short.png: OpenCV cannot decode it" in done.stderr
    for name in ("whole1", "whole2"):
        assert f"skipped half{name}.jpg: a JPEG that ends too early" in done.stderr
        assert f"skipped {name}.jpg" not in done.stderr
    for name, tolerance in (("cut", 1e-5), ("sized", 1e-2)):
        split = FolderSplit([str(folder / f"{name}.png")], np.zeros(1, np.int32), ("a", "b"),
                            image_size=24, mean=mean, std=std)  # fmt: skip
        expected = network.set_train(False)(ms.Tensor(split.batch(np.array([0]))[0])).asnumpy()[0]
        found = np.load(tmp_path / "whole" / f"{name}.png.npy").reshape(-1)
        np.testing.assert_allclose(found, expected, atol=tolerance * np.abs(expected).max())


@pytest.mark.slow
def test_a_network_of_rows_and_a_batch_that_is_not_full(lite, tmp_path):
    network, x = ms.nn.Dense(6, 3), np.arange(6, dtype=np.float32)
    file = export(network, tmp_path / "net.onnx", (4, 6)).path
    (tmp_path / "in").mkdir()
    np.save(tmp_path / "in" / "a.npy", x)
    (tmp_path / "in" / "b.png").touch()
    words = ["--model", lite.convert(file, tmp_path / "lite"), "--input", tmp_path / "in"]
    words += ["--outputs", tmp_path / "whole", "--top", 9]
    done = lite.call(lite.application, *map(str, words))
    assert done.returncode == 0, done.stderr
    assert "skipped b.png: a picture, and the network takes samples of (6,)" in done.stderr
    assert len(done.stdout.splitlines()[1].split(",")) == 1 + 2 * 3
    expected = network(ms.Tensor(x[None])).asnumpy()[0]
    np.testing.assert_allclose(np.load(tmp_path / "whole" / "a.npy"), expected, atol=EXPORT)
    assert [path.name for path in (tmp_path / "whole").iterdir()] == ["a.npy"]


@pytest.mark.slow
def test_no_usable_file_is_a_mistake(lite, model, tmp_path):
    folder = fill(tmp_path / "in", good=0)
    done = lite.call(lite.application, "--model", str(model[1]), "--input", str(folder))
    assert done.returncode == 2
    assert "none of its files can be used" in done.stderr
    (folder / "good.npy").write_bytes(GOOD)
    done = lite.call(lite.application, "--model", str(model[1]), "--input", str(folder))
    assert done.returncode == 0
    assert done.stdout.startswith("file,class_1,score_1\ngood.npy,")
