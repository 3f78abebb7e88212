"""Exported graphs read back, MindIR and ONNX alike: operators, shapes, types, control flow."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ms_eff.deploy.onnx_schema import ELEMENT_TYPES, new_model
from ms_eff.errors import DataError, first_line

__all__ = ["Graph", "Node", "TensorInfo", "read_graph", "read_inputs"]

# MindIR's names of types -> NumPy's; the others are the same
_MINDIR_TYPES = {"float": "float32", "double": "float64"}
# nodes that order or pack what others compute
_BOOKKEEPING = frozenset({
    "Constant", "Load", "UpdateState", "Depend", "MakeTuple", "TupleGetItem", "Return",
    "make_tuple", "tuple_getitem", "Identity", "Parameter",
})  # fmt: skip
_LARGEST = 2**31 - 1  # bytes that protobuf reads


@dataclass(frozen=True)
class TensorInfo:
    """A tensor of a graph.

    Attributes:
        name: in the graph.
        shape: -1 for a free length, -2 alone if even the rank is free; None if unknown.
        dtype: NumPy's name of the type; empty if unknown.
    """

    name: str
    shape: tuple[int, ...] | None
    dtype: str


@dataclass(frozen=True)
class Node:
    """An operator at work in a graph.

    Attributes:
        op: its name: a MindSpore primitive, or an ONNX operator.
        name: in the graph.
        outputs: what it gives.
        holds_graphs: whether it runs graphs of its own: a branch or a loop.
    """

    op: str
    name: str
    outputs: tuple[TensorInfo, ...]
    holds_graphs: bool = False


@dataclass(frozen=True)
class Graph:
    """An exported network.

    Attributes:
        kind: `mindir` or `onnx`.
        inputs: without the weights.
        weights: the constant tensors.
        nodes: in the file's order, those of inner graphs too; bookkeeping is left out.
        opset: ONNX's version of the operators; 0 for MindIR.
        shapes_known: whether the shapes inside the graph are.
    """

    kind: str
    inputs: tuple[TensorInfo, ...]
    weights: tuple[TensorInfo, ...]
    nodes: tuple[Node, ...]
    opset: int = 0
    shapes_known: bool = True


def read_graph(path: str | Path) -> Graph:
    """Return what an exported file holds; its suffix says which format.

    Raises:
        DataError: unreadable, another format, damaged or empty.
    """
    path = Path(path)
    model = _loaded(path)
    graph = _mindir_graph(model) if path.suffix == ".mindir" else _onnx_graph(model)
    if not graph.nodes:
        raise DataError(f"{path}: no operators in it; is it an exported network?")
    return graph


def read_inputs(path: str | Path) -> tuple[TensorInfo, ...]:
    """Return what the network of an exported file takes, without looking at the rest of it.

    Raises:
        DataError: as `read_graph`.
    """
    path = Path(path)
    model = _loaded(path)
    inputs = _mindir_inputs(model) if path.suffix == ".mindir" else _onnx_inputs(model)
    if not inputs:
        raise DataError(f"{path}: no inputs in it; is it an exported network?")
    return inputs


def _loaded(path: Path) -> Any:
    """Return the file as protobuf reads it."""
    if path.suffix not in (".mindir", ".onnx"):
        raise DataError(f"{path}: expected a file ending in .mindir or .onnx; `ms-eff export`")
    try:
        if path.stat().st_size > _LARGEST:
            raise DataError(f"{path}: more than 2 GB; export a smaller member of its family")
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from error
    model = _new_mindir() if path.suffix == ".mindir" else new_model()
    try:
        model.ParseFromString(content)
    except Exception as error:  # protobuf's implementations raise their own
        raise DataError(
            f"{path}: damaged, or not {path.suffix[1:]} ({first_line(error)}); export it again"
        ) from error
    if not model.ir_version:  # of either format: the other's file, renamed, parses all the same
        raise DataError(
            f"{path}: damaged, or not {path.suffix[1:]} (no version of the format is named in it); "
            "export it again"
        )
    return model


# MindIR


def _new_mindir() -> Any:
    from mindspore.train.mind_ir_pb2 import ModelProto

    return ModelProto()


def _mindir_inputs(model: Any) -> tuple[TensorInfo, ...]:
    # the graph's own name stands before the input's
    return tuple(_mindir_tensor(e.name.rpartition(":")[2], e.tensor) for e in model.graph.input)


def _mindir_graph(model: Any) -> Graph:
    kinds = {primitive.name: primitive.op_type for primitive in model.primitives}
    functions = {function.name for function in model.functions}
    graphs = (model.graph, *model.functions)
    nodes = [node for graph in graphs for node in _mindir_nodes(graph, kinds, functions)]
    return Graph(
        "mindir",
        _mindir_inputs(model),
        tuple(_mindir_tensor(entry.name, (entry,)) for entry in model.graph.parameter),
        tuple(nodes),
    )


def _mindir_nodes(graph: Any, kinds: dict[str, str], functions: set[str]) -> Iterator[Node]:
    for node in graph.node:
        name = node.op_type.removeprefix("REF::")
        # "Conv2D:29" is the 29th primitive; without a list of them, as older files are, by its name
        op = "Call" if name in functions else kinds.get(name, name.partition(":")[0])
        if op in _BOOKKEEPING:
            continue
        found = [a.tensors for a in node.attribute if a.name == "shape"]
        outputs = [_mindir_tensor(node.name, (tensor,)) for tensors in found for tensor in tensors]
        yield Node(op, node.domain or node.name, tuple(outputs), op in ("Switch", "SwitchLayer"))


def _mindir_tensor(name: str, tensors: Iterable[Any]) -> TensorInfo:
    from mindspore.train.mind_ir_pb2 import TensorProto

    for tensor in tensors:
        kind = TensorProto.DataType.Name(tensor.data_type).lower()
        return TensorInfo(name, tuple(tensor.dims), _MINDIR_TYPES.get(kind, kind))
    return TensorInfo(name, None, "")


# ONNX


def _onnx_inputs(model: Any) -> tuple[TensorInfo, ...]:
    weights = {entry.name for entry in model.graph.initializer}
    return tuple(_onnx_value(e) for e in model.graph.input if e.name not in weights)


def _onnx_graph(model: Any) -> Graph:
    shapes = {entry.name: _onnx_value(entry) for entry in model.graph.value_info}
    inferred = _inferred(model)
    shapes |= inferred
    opsets = [entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")]
    return Graph(
        "onnx",
        _onnx_inputs(model),
        tuple(
            TensorInfo(e.name, tuple(e.dims), ELEMENT_TYPES.get(e.data_type, ""))
            for e in model.graph.initializer
        ),
        tuple(_onnx_nodes(model.graph, shapes)),
        max(opsets, default=0),
        bool(inferred),
    )


def _onnx_nodes(graph: Any, shapes: dict[str, TensorInfo]) -> Iterator[Node]:
    for node in graph.node:
        inner = [a.g for a in node.attribute if a.HasField("g")]
        inner += [g for a in node.attribute for g in a.graphs]
        if node.op_type not in _BOOKKEEPING:
            known = (shapes.get(name, TensorInfo(name, None, "")) for name in node.output)
            # operators of another domain than ONNX's own are in no list
            op = f"{node.domain}.{node.op_type}" if node.domain else node.op_type
            yield Node(op, node.name or node.output[0], tuple(known), bool(inner))
        for part in inner:
            yield from _onnx_nodes(part, shapes)


def _onnx_value(entry: Any) -> TensorInfo:
    tensor = entry.type.tensor_type
    shape = None
    if tensor.HasField("shape"):
        shape = tuple(d.dim_value if d.HasField("dim_value") else -1 for d in tensor.shape.dim)
    return TensorInfo(entry.name, shape, ELEMENT_TYPES.get(tensor.elem_type, ""))


def _inferred(model: Any) -> dict[str, TensorInfo]:
    """Return the tensors inside a graph as onnxruntime infers them; nothing if it refuses."""
    try:
        import onnxruntime
    except ImportError:
        return {}
    asked = new_model()
    asked.CopyFrom(model)
    there = {entry.name for entry in asked.graph.output}
    for node in asked.graph.node:
        for name in node.output:
            if name and name not in there:
                asked.graph.output.add(name=name)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    try:
        session = onnxruntime.InferenceSession(
            asked.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
    except Exception:  # weights in other files, an operator it lacks: the rest is read all the same
        return {}
    return {
        entry.name: TensorInfo(
            entry.name,
            tuple(length if isinstance(length, int) else -1 for length in entry.shape),
            _ort_type(entry.type),
        )
        for entry in session.get_outputs()
    }


def _ort_type(text: str) -> str:
    """Return NumPy's name.

    >>> _ort_type("tensor(double)"), _ort_type("tensor(int64)")
    ('float64', 'int64')
    """
    kind = text.removeprefix("tensor(").removesuffix(")")
    return {"float": "float32", "double": "float64"}.get(kind, kind)
