"""Graphs read back: from the exporters, and written by hand for what they do not make."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from ms_eff.deploy.export import export
from ms_eff.deploy.graphs import read_graph, read_inputs
from ms_eff.errors import DataError
from tests.deploy.test_export import SHAPE, ConvNet


@pytest.mark.gate
def test_both_formats_of_a_network_are_read_alike(tmp_path):
    graphs = {}
    for name in ("net.mindir", "net.onnx"):
        path = export(ConvNet(), tmp_path / name, SHAPE, dynamic_batch=True).path
        graphs[path.suffix] = read_graph(path)
        assert read_inputs(path) == graphs[path.suffix].inputs
    mindir, onnx = graphs[".mindir"], graphs[".onnx"]
    for graph in graphs.values():
        (tensor,) = graph.inputs
        assert (tensor.shape, tensor.dtype) == ((-1, *SHAPE[1:]), "float32")
        assert {w.dtype for w in graph.weights} <= {"float32", "int64", "int32"}
        assert graph.shapes_known
    count = [node.op for node in mindir.nodes].count
    assert (count("Conv2D"), count("BatchNorm"), count("ReLU")) == (2, 1, 1)
    assert "Load" not in {node.op for node in mindir.nodes}
    count = [node.op for node in onnx.nodes].count
    assert (count("Conv"), count("BatchNormalization"), count("Relu")) == (2, 1, 1)
    assert onnx.opset >= 9
    for name, other in (("net.mindir", "renamed.onnx"), ("net.onnx", "renamed.mindir")):
        (tmp_path / name).rename(tmp_path / other)
        with pytest.raises(DataError, match="no version of the format is named in it"):
            read_graph(tmp_path / other)
    (relu,) = (node for node in onnx.nodes if node.op == "Relu")
    assert relu.outputs[0].shape == (-1, 16, 4, 4)
    assert relu.outputs[0].dtype == "float32"


def test_protobuf_starts_as_mindspore_needs_it():
    """Where ONNX is read before MindSpore is imported, the import would abort the interpreter."""
    words = "from ms_eff.deploy.onnx_schema import new_model as new; new()\n"
    words += "from google.protobuf.internal import api_implementation as a; print(a.Type())"
    variables = {k: v for k, v in os.environ.items() if not k.startswith("PROTOCOL_BUFFERS")}
    done = subprocess.run([sys.executable, "-c", words], env=variables, capture_output=True)
    assert done.stdout == b"python\n", done.stderr


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("net.om", b"", "expected a file ending in .mindir or .onnx"),
        ("net.onnx", b"not protobuf at all", "damaged, or not onnx"),
        ("net.mindir", b"not protobuf at all", "damaged, or not mindir"),
        ("net.onnx", b"", "damaged, or not onnx .no version of the format is named"),
        ("net.onnx", b"\x08\x08", "no operators in it"),
        ("folder.onnx", None, "cannot be read: Is a directory"),
        ("net.mindir", None, "cannot be read: No such file"),
    ],
)
def test_what_is_no_graph_is_named(tmp_path, name, content, message):
    (tmp_path / "folder.onnx").mkdir()
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=message) as caught:
        read_graph(tmp_path / name)
    assert "\n" not in str(caught.value)
