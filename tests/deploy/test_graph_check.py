"""What the doctor finds: in exported networks, and in graphs written by hand."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from mindspore import nn, ops
from mindspore.train.mind_ir_pb2 import ModelProto, TensorProto
from rich.console import Console
from typer.testing import CliRunner

from ms_eff.cli import app
from ms_eff.deploy.export import export
from ms_eff.deploy.graph_check import check_graph
from ms_eff.deploy.onnx_schema import new_model
from ms_eff.methods.spatiotemporal import apply_spatiotemporal
from ms_eff.report.graph_check import graph_tables
from tests.deploy.test_export import SHAPE, ConvNet
from tests.methods.spatiotemporal.networks import OneBlock, lively

CLIP = (1, 4, 3, 8, 8)


def mindir(path: Path, *nodes: tuple[str, tuple[int, ...]], dtype: int = TensorProto.FLOAT,
           given: tuple[int, ...] = (2, 3)) -> Path:  # fmt: skip
    """Write a graph of those (primitive, output shape)."""
    model = ModelProto(ir_version="1.1")
    entry = model.graph.input.add(name="x").tensor.add(data_type=TensorProto.FLOAT)
    entry.dims.extend(given)
    for index, (op, shape) in enumerate(nodes):
        model.primitives.add(name=f"{op}:{index}", op_type=op)
        node = model.graph.node.add(name=f"n{index}", op_type=f"REF::{op}:{index}")
        node.attribute.add(name="shape").tensors.add(data_type=dtype).dims.extend(shape)
    path.write_bytes(model.SerializeToString())
    return path


def onnx(path: Path, *ops: str, opset: int = 13, given: tuple[int, ...] = (2, 3)) -> Path:
    """Write a chain of those operators."""
    model = new_model()
    model.ir_version = 7
    model.opset_import.add(version=opset)
    tensor = model.graph.input.add(name="t0").type.tensor_type
    tensor.elem_type = 1
    for length in given:
        tensor.shape.dim.add(dim_value=length)
    for index, op in enumerate(ops):
        names = {"input": [f"t{index}"], "output": [f"t{index + 1}"]}
        model.graph.node.add(op_type=op, name=f"n{index}", **names)
    model.graph.output.add(name=f"t{len(ops)}")
    path.write_bytes(model.SerializeToString())
    return path


def grades(path: Path, target: str = "ascend310") -> dict[str, str]:
    return {finding.what: finding.grade for finding in check_graph(path, target).findings}


@pytest.mark.parametrize("name", ["net.mindir", "net.onnx"])
def test_nothing_stops_an_ordinary_network(tmp_path, name):
    path = export(ConvNet(), tmp_path / name, SHAPE).path
    report = check_graph(path, "ascend310p")
    assert not report.stopped
    assert {row.state for row in report.operators} == {"listed"}
    assert sum(row.count for row in report.operators) >= 5


@pytest.mark.gate
@pytest.mark.parametrize("name", ["net.mindir", "net.onnx"])
def test_3d_convolutions_stop_and_their_4d_form_does_not(tmp_path, name):
    network = lively(OneBlock())
    report = check_graph(export(network, tmp_path / name, CLIP).path)
    (found,) = [f for f in report.findings if "5D tensors" in f.what]
    assert found.grade == "stop"
    assert "spatiotemporal" in found.remedy
    network = apply_spatiotemporal(network, "add", fresh_seed=1)[0]
    report = check_graph(export(network, tmp_path / name, CLIP).path)
    assert not any("5D tensors" in f.what for f in report.findings)
    assert not report.stopped, report.findings


class Branch(nn.Cell):
    def construct(self, x):
        if ops.ReduceSum()(x) > 0:
            return x + 1
        return x * 2


def test_control_flow_of_a_real_export_stops(tmp_path):
    found = grades(export(Branch(), tmp_path / "n.mindir", (2, 3)).path)
    (what,) = [what for what in found if "control flow" in what]
    assert found[what] == "stop"


def test_an_operator_that_mindspore_has_for_others_only_stops(tmp_path):
    found = grades(mindir(tmp_path / "n.mindir", ("Eps", (2, 3)), ("ReLU", (2, 3))))
    named = check_graph(tmp_path / "n.mindir").operators
    assert [row.state for row in named if row.op == "ReLU"] == ["listed"]
    # whatever platforms this release documents, a graph of operators it does not know is checked
    assert set(found.values()) <= {"stop", "check"}
    assert any("Eps" in what for what in found)


def test_platforms_without_ascend_stop(tmp_path, monkeypatch):
    from ms_eff.deploy import graph_check

    monkeypatch.setattr(graph_check, "platforms", lambda op: ("GPU", "CPU"))
    found = grades(mindir(tmp_path / "n.mindir", ("ReLU", (2, 3))))
    assert found == {"MindSpore documents ReLU for GPU, CPU only": "stop"}


def test_what_no_page_names_is_unknown_and_does_not_stop(tmp_path):
    path = mindir(tmp_path / "n.mindir", ("NoSuchThing", (2, 3)), ("Rsqrt", (2, 3)))
    report = check_graph(path)
    assert {row.op: row.state for row in report.operators} == {
        "NoSuchThing": "unknown", "Rsqrt": "left out",
    }  # fmt: skip
    assert not report.stopped
    assert grades(path)["no page names NoSuchThing: its support is unknown"] == "check"


def test_onnx_operators_outside_the_list_stop_by_target(tmp_path):
    path = onnx(tmp_path / "n.onnx", "Relu", "LayerNormalization")
    assert "cann-5.0.4 lists no ONNX operator LayerNormalization for ascend310" in grades(path)
    assert not check_graph(path, "ascend310p").stopped
    assert grades(onnx(tmp_path / "n.onnx", "Loop"), "ascend310p")[
        "cann-8.0 lists no ONNX operator Loop for ascend310p"
    ] == "stop"  # fmt: skip


def test_what_lite_was_seen_to_get_wrong_is_to_be_checked(tmp_path):
    found = grades(onnx(tmp_path / "n.onnx", "ReduceSumSquare"))
    assert found == {
        "MindSpore Lite 2.0.0 computes ReduceSumSquare wrongly on a CPU (tried)": "check"
    }


def test_free_lengths(tmp_path):
    def found(given, output=(2, 3)):
        return grades(mindir(tmp_path / "n.mindir", ("ReLU", output), given=given))

    assert found((2, 3)) == {}
    assert found((-1, 3), (-1, 3)) == {"free batch axis: x is (-1, 3)": "note"}
    assert found((2, -1), (2, -1)) == {"free lengths: x is (2, -1)": "stop"}
    assert found((-2,), (-2,)) == {"free lengths: x is (-2,)": "stop"}
    assert list(found((2, 3), (-1, 3)).values()) == ["stop"]


def test_ranks(tmp_path):
    deep = (1, 2, 3, 4, 5)
    found = grades(mindir(tmp_path / "n.mindir", ("Reshape", deep), ("Transpose", deep)))
    assert found == {}  # patches are cut out by these
    found = grades(mindir(tmp_path / "n.mindir", ("Add", deep)))
    assert found == {"tensors of more than 4 axes in Add": "check"}


def test_float64_stops(tmp_path):
    path = mindir(tmp_path / "n.mindir", ("Add", (2, 3)), dtype=TensorProto.DOUBLE)
    assert [what for what in grades(path) if what.startswith("float64")]
    assert check_graph(path).stopped


def test_opsets_beyond_the_page_are_to_be_checked(tmp_path):
    found = grades(onnx(tmp_path / "n.onnx", "Relu", opset=17))
    assert found == {"opset 17: the page for ascend310 names 9 to 13": "check"}
    assert grades(tmp_path / "n.onnx", "ascend310p") == {}


def test_tables_say_it_all_on_a_terminal(tmp_path):
    path = mindir(tmp_path / "n.mindir", ("ReLU", (2, 3)), ("Add", (1, 2, 3, 4, 5)))
    console = Console(width=100, record=True, file=io.StringIO())
    console.print(graph_tables(check_graph(path)))
    text = console.export_text()
    assert "n.mindir for ascend310: 2 operators, 2 nodes" in text
    assert "lite-2.10: MindSpore Lite 2.10" in text
    assert "Nothing is known to stop the conversion; 1 to check." in text


def test_command_line(tmp_path):
    path = str(mindir(tmp_path / "good.mindir", ("ReLU", (2, 3))))
    done = CliRunner().invoke(app, ["doctor", "--graph", path, "--target", "ascend310p"])
    assert done.exit_code == 0, done.output
    assert "Nothing is known to stop the conversion." in done.output
    path = str(onnx(tmp_path / "bad.onnx", "Loop"))
    done = CliRunner().invoke(app, ["doctor", "--graph", path, "--json"])
    assert done.exit_code == 1
    found = json.loads(done.stdout)
    assert (found["stopped"], found["target"], found["kind"]) == (True, "ascend310", "onnx")
    assert found["operators"][0]["state"] == "left out"
    assert list(found["sources"]) == ["cann-5.0.4"]
    done = CliRunner().invoke(app, ["doctor", "--json"])
    assert "--target and --json go with --graph" in str(done.exception)
    done = CliRunner().invoke(app, ["doctor", "--graph", path, "--target", "ascend910"])
    assert "--target: 'ascend910'" in str(done.exception)
