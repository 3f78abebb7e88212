from __future__ import annotations

import json
import stat

import mindspore as ms
import numpy as np
import pytest
from mindspore import nn, ops

from ms_eff.deploy import verify, writers
from ms_eff.deploy.export import export
from ms_eff.deploy.inputs import InputSpec
from ms_eff.deploy.operators import ExportError
from ms_eff.errors import SetupError, UserError, VerificationError
from ms_eff.methods.lowrank import apply_lowrank
from tests.tolerances import EXPORT

SHAPE = (4, 3, 8, 8)


class ConvNet(nn.Cell):
    def __init__(self, activation: nn.Cell | None = None) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 1)
        self.conv = nn.Conv2d(16, 16, 3, stride=2, pad_mode="pad", padding=1)
        self.norm = nn.BatchNorm2d(16)
        self.activation = activation or nn.ReLU()
        self.head = nn.Dense(16, 5)

    def construct(self, x):
        x = self.activation(self.norm(self.conv(self.stem(x))))
        return self.head(x.mean((2, 3)))


class TwoInputs(nn.Cell):
    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(11, 6)

    def construct(self, ids, scale):
        y = self.table(ids)
        return y * scale, y.sum(1)


class Rsqrt(nn.Cell):
    def construct(self, x):
        return ops.rsqrt(x * x + 1)


class FromShape(nn.Cell):
    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Dense(6, 5)

    def construct(self, x):
        return self.head(x.reshape((x.shape[0], -1)))


@pytest.fixture(scope="module")
def net():
    cell = ConvNet()
    rng = np.random.default_rng(0)
    cell.norm.moving_mean.set_data(ms.Tensor(rng.standard_normal(16), ms.float32))
    return cell


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(1).standard_normal((6, *SHAPE[1:])).astype(np.float32)


def names(folder):
    return sorted(entry.name for entry in folder.iterdir())


@pytest.mark.gate
@pytest.mark.parametrize("dynamic_batch", [False, True])
@pytest.mark.parametrize("format", ["mindir", "onnx"])
@pytest.mark.parametrize("method", ["dense", "lowrank"])
def test_exported_file_reproduces_the_live_network(
    net, images, tmp_path, method, format, dynamic_batch
):
    if method == "lowrank":
        net, plan, _ = apply_lowrank(net, ratio=2.0)
        assert {layer.name for layer in plan.layers} >= {"conv", "head"}
    path = tmp_path / f"net.{format}"
    done = export(net, path, SHAPE, dynamic_batch=dynamic_batch, real_inputs=images)
    assert done.path == path
    assert names(tmp_path) == [path.name, path.name + ".json"]
    assert done.difference.max_abs <= EXPORT
    # 4 random ones (and 1 more where the batch is free), and 6 real ones in two batches of 4
    assert done.difference.samples == (13 if dynamic_batch else 12)
    batch = images[: 3 if dynamic_batch else 4]
    net.set_train(False)
    np.testing.assert_allclose(
        verify.load(path)((batch,))[0], net(ms.Tensor(batch)).asnumpy(), atol=EXPORT, rtol=EXPORT
    )
    assert path.stat().st_mode & stat.S_IWUSR


def test_note_beside_the_file_records_what_was_done(net, tmp_path):
    done = export(net, tmp_path / "net.onnx", SHAPE, command="ms-eff export", seed=3)
    note = json.loads((tmp_path / "net.onnx.json").read_text())
    assert note["inputs"] == [{"name": "input", "shape": list(SHAPE), "dtype": "float32"}]
    assert note["sha256"] == done.sha256
    assert note["max_abs_difference"] == done.difference.max_abs
    assert note["tolerance"] == done.tolerance
    assert note["environment"]["command"] == "ms-eff export"
    assert str(tmp_path) not in json.dumps(note)


def test_export_twice_and_into_an_odd_folder(net, tmp_path):
    folder = tmp_path / "new folder" / "é"
    first = export(net, folder / "net.onnx", SHAPE)
    second = export(net, folder / "net.onnx", SHAPE)
    assert (first.inputs, first.difference) == (second.inputs, second.difference)
    assert names(folder) == ["net.onnx", "net.onnx.json"]


def test_several_inputs_keep_their_names(tmp_path):
    import onnxruntime

    inputs = [InputSpec((2, 7), "ids", "int32", high=11), InputSpec((2, 1, 6), "scale")]
    done = export(TwoInputs(), tmp_path / "two.onnx", inputs)
    session = onnxruntime.InferenceSession(str(done.path))
    assert [entry.name for entry in session.get_inputs()] == ["ids", "scale"]
    assert done.outputs == ((2, 7, 6), (2, 6))


def test_a_shape_the_network_does_not_take_is_one_line(net, tmp_path):
    with pytest.raises(ExportError, match="ConvNet does not take") as error:
        export(net, tmp_path / "net.onnx", (1, 4, 8, 8))
    assert "\n" not in str(error.value)
    assert "---" not in str(error.value)
    assert names(tmp_path) == []


def test_modes_come_back(net, tmp_path):
    net.set_train(True)
    net.norm.set_train(False)
    before = [cell.training for _, cell in net.cells_and_names()]
    level = ms.get_context("jit_syntax_level")
    export(net, tmp_path / "net.mindir", SHAPE)
    assert [cell.training for _, cell in net.cells_and_names()] == before
    assert ms.get_context("mode") == ms.GRAPH_MODE
    assert ms.get_context("jit_syntax_level") == level


@pytest.mark.parametrize("format", ["mindir", "onnx"])
def test_wrong_export_leaves_no_file(net, tmp_path, monkeypatch, format):
    right = writers.write

    def wrong(cell, *rest):
        return right(ConvNet(), *rest)

    monkeypatch.setattr(writers, "write", wrong)
    with pytest.raises(VerificationError, match=r"net\.\w+: outputs differ .* tolerance 0.0001"):
        export(net, tmp_path / f"net.{format}", SHAPE)
    assert names(tmp_path) == []


def test_earlier_export_survives_a_failure(net, tmp_path, monkeypatch):
    path = tmp_path / "net.onnx"
    export(net, path, SHAPE)
    before = path.read_bytes()
    monkeypatch.setattr(verify, "load", lambda file: lambda arrays: (np.zeros((4, 5)),))
    with pytest.raises(VerificationError):
        export(net, path, SHAPE)
    assert path.read_bytes() == before
    assert names(tmp_path) == ["net.onnx", "net.onnx.json"]


def test_truncated_file_is_not_let_out(net, tmp_path, monkeypatch):
    right = writers.write

    def truncated(*arguments):
        file = right(*arguments)
        file.write_bytes(file.read_bytes()[:200])
        return file

    monkeypatch.setattr(writers, "write", truncated)
    with pytest.raises(VerificationError, match="cannot be loaded again"):
        export(net, tmp_path / "net.onnx", SHAPE)
    assert names(tmp_path) == []


def test_missing_operator_is_named_with_its_remedy(tmp_path):
    with pytest.raises(ExportError, match=r"no operator Rsqrt; write 1 / ops.sqrt") as caught:
        export(ConvNet(Rsqrt()), tmp_path / "net.onnx", SHAPE)
    assert "\n" not in str(caught.value)
    assert names(tmp_path) == []


@pytest.mark.gate
def test_shape_taken_from_the_batch_is_named_for_onnx(tmp_path):
    with pytest.raises(ExportError, match=r"no operator Shape; use nn\.Flatten"):
        export(FromShape(), tmp_path / "net.onnx", (4, 3, 2), dynamic_batch=True)
    assert export(FromShape(), tmp_path / "net.onnx", (4, 3, 2)).difference.max_abs <= EXPORT


def test_unwritable_folder_is_one_line(net, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UserError, match=r"path: cannot write net\.onnx in") as caught:
        export(net, tmp_path / "file" / "net.onnx", SHAPE)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("format", ["mindir", "onnx"])
def test_full_disk_is_one_line_and_leaves_nothing(net, tmp_path, monkeypatch, format):
    def full(*arguments, **keywords):
        raise OSError(28, "No space left on device")

    module = ms.onnx.onnx_export if format == "onnx" else ms.train.serialization
    monkeypatch.setattr(module, "open", full, raising=False)
    with pytest.raises(ExportError, match=r"No space left|disk full") as caught:
        export(net, tmp_path / f"net.{format}", SHAPE)
    assert "\n" not in str(caught.value)
    assert names(tmp_path) == []


def test_missing_onnxruntime_names_the_remedy(net, tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "onnxruntime", None)
    with pytest.raises(SetupError, match="pip install onnxruntime"):
        export(net, tmp_path / "net.onnx", SHAPE)
    assert names(tmp_path) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"path": "net.om"}, "format: expected mindir or onnx, got '.om'"),
        ({"path": "net", "format": "onx"}, "did you mean 'onnx'"),
        ({"path": "net.onnx", "format": "mindir"}, "net.onnx says onnx, format says mindir"),
        ({"path": "my net.onnx"}, "take no file name like 'my net.onnx'"),
        ({"path": "net.onnx", "input_shape": (0, 3, 8, 8)}, "expected positive lengths"),
        ({"path": "net.onnx", "real_inputs": np.zeros((2, 1, 8, 8))}, "real_inputs: expected"),
    ],
)
def test_wrong_argument_is_named(net, tmp_path, arguments, message):
    with pytest.raises(UserError, match=message):
        export(net, **{"input_shape": SHAPE, **arguments, "path": tmp_path / arguments["path"]})
    assert names(tmp_path) == []


@pytest.mark.gate
def test_large_mindir_is_split_and_moved_whole(net, tmp_path, monkeypatch):
    monkeypatch.setattr(ms.train.serialization, "TOTAL_SAVE", 0)
    for _ in range(2):  # the second one replaces the first's folder of weights
        done = export(net, tmp_path / "net.mindir", SHAPE)
    assert done.path.name == "net_graph.mindir"
    assert names(tmp_path) == ["net_graph.mindir", "net_graph.mindir.json", "net_variables"]
    verify.load(done.path)((np.zeros(SHAPE, np.float32),))
