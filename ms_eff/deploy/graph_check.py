"""What would stop `atc` or `converter_lite` on an exported graph, found before a board is touched.

Findings are of three grades. `stop`: documented or measured not to go through. `check`: no page
says that it does. `note`: goes through, given what the remedy says.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ms_eff.deploy.graphs import Graph, Node, read_graph
from ms_eff.deploy.support import (
    check_target,
    opset_range,
    platforms,
    source_titles,
    support,
    wrong_in_lite,
)

__all__ = ["Finding", "GraphReport", "OperatorRow", "check_graph"]

# operators that only move or rename values: any rank is theirs
_LAYOUT = frozenset({
    "Reshape", "Transpose", "ExpandDims", "Squeeze", "Unsqueeze", "Flatten", "Cast", "Slice",
    "StridedSlice", "Concat", "Split", "Gather", "Stack", "Expand", "BroadcastTo", "Tile",
})  # fmt: skip
# operators whose 5D forms are others than their 4D ones
_SPATIAL = ("Conv", "Pool", "BatchNorm", "Upsample", "Resize")


@dataclass(frozen=True)
class Finding:
    """One thing to know before converting.

    Attributes:
        grade: `stop`, `check` or `note`.
        what: in words.
        where: the first node or tensor concerned, and how many there are.
        remedy: what to do.
    """

    grade: str
    what: str
    where: str
    remedy: str


@dataclass(frozen=True)
class OperatorRow:
    """An operator of the graph.

    Attributes:
        op: its name.
        count: nodes.
        platforms: as MindSpore documents it; empty for ONNX, or where it does not say.
        state: see `support.Support`.
        source: likewise.
    """

    op: str
    count: int
    platforms: tuple[str, ...]
    state: str
    source: str


@dataclass(frozen=True)
class GraphReport:
    """What the doctor says of a graph."""

    file: str
    kind: str
    target: str
    operators: tuple[OperatorRow, ...]
    findings: tuple[Finding, ...]

    @property
    def stopped(self) -> bool:
        """Whether anything is known to stop the conversion."""
        return any(finding.grade == "stop" for finding in self.findings)

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON takes it, with the pages' titles."""
        used = {row.source for row in self.operators} - {""}
        titles = source_titles()
        return {
            **asdict(self),
            "stopped": self.stopped,
            "sources": {key: titles[key] for key in sorted(used)},
        }


def check_graph(path: str | Path, target: str = "ascend310") -> GraphReport:
    """Read an exported graph and say what would stop its conversion.

    Args:
        path: `.mindir` of `ms-eff export`, or `.onnx`.
        target: `ascend310` or `ascend310p`.

    Raises:
        ConfigError: no such target.
        DataError: the file cannot be read as a graph.
    """
    check_target(target)
    graph = read_graph(path)
    rows = tuple(_rows(graph, target))
    found = [
        *_about_operators(rows, graph, target),
        *_about_control_flow(graph),
        *_about_shapes(graph),
        *_about_ranks(graph, target),
        *_about_types(graph),
        *_about_opset(graph, target),
    ]
    found.sort(key=lambda finding: ("stop", "check", "note").index(finding.grade))
    return GraphReport(Path(path).name, graph.kind, target, rows, tuple(found))


def _rows(graph: Graph, target: str) -> Iterator[OperatorRow]:
    counts = Counter(node.op for node in graph.nodes)
    for op, count in sorted(counts.items(), key=lambda item: (-item[1], item[0])):
        known = support(op, graph.kind, target)
        named = platforms(op) if graph.kind == "mindir" else ()
        yield OperatorRow(op, count, named, known.state, known.source)


def _about_operators(rows: tuple[OperatorRow, ...], graph: Graph, target: str) -> Iterator[Finding]:
    for row in rows:
        where = _where([node.name for node in graph.nodes if node.op == row.op])
        if row.platforms and "Ascend" not in row.platforms:
            yield Finding(
                "stop", f"MindSpore documents {row.op} for {', '.join(row.platforms)} only",
                where, "write the network without it",
            )  # fmt: skip
        elif graph.kind == "onnx" and row.state == "left out":
            yield Finding(
                "stop", f"{row.source} lists no ONNX operator {row.op} for {target}",
                where, "write the network without it",
            )  # fmt: skip
        elif row.state == "left out":
            yield Finding(
                "check", f"{row.source} names {row.op} without Ascend",
                where, "export to ONNX and look there, or try converter_lite on the board",
            )  # fmt: skip
        elif row.state == "unknown":
            yield Finding(
                "check", f"no page names {row.op}: its support is unknown",
                where, "export to ONNX and look there, or try converter_lite on the board",
            )  # fmt: skip
        remedy = wrong_in_lite(row.op) if graph.kind == "onnx" else None
        if remedy:
            what = f"MindSpore Lite 2.0.0 computes {row.op} wrongly on a CPU (tried)"
            yield Finding("check", what, where, remedy)


def _about_control_flow(graph: Graph) -> Iterator[Finding]:
    branches = [node for node in graph.nodes if node.holds_graphs]
    if branches:
        ops = ", ".join(sorted({node.op for node in branches}))
        # ONNX's If is in both lists; loops and MindIR's switches are in none
        grade = "check" if {node.op for node in branches} == {"If"} else "stop"
        yield Finding(
            grade, f"control flow ({ops}): the graph chooses while it runs",
            _where([node.name for node in branches]),
            "decide when exporting: branch on shapes and settings, not on tensors",
        )  # fmt: skip


def _about_shapes(graph: Graph) -> Iterator[Finding]:
    free = [tensor for tensor in graph.inputs if tensor.shape and min(tensor.shape) < 0]
    for tensor in free:
        others = [length for length in tensor.shape or () if length < 0]
        if (tensor.shape or ())[0] == -1 and len(others) == 1:
            yield Finding(
                "note", f"free batch axis: {tensor.name} is {tensor.shape}", tensor.name,
                "convert with --dynamic-batch 1,2,4,8, or with a fixed --input-shape",
            )  # fmt: skip
        else:
            yield Finding(
                "stop", f"free lengths: {tensor.name} is {tensor.shape}", tensor.name,
                "export with all lengths but the batch fixed",
            )  # fmt: skip
    inside = [
        node.name for node in graph.nodes for tensor in node.outputs
        if tensor.shape and min(tensor.shape) < 0
    ]  # fmt: skip
    if inside and not free:
        yield Finding(
            "stop", "shapes that depend on values, though all inputs are fixed", _where(inside),
            "write it with a fixed number of values: top-k instead of a mask",
        )  # fmt: skip
    if not graph.shapes_known:
        yield Finding(
            "check", "shapes and types inside the graph are unknown", "-",
            "install onnxruntime, and export with the weights inside the file",
        )  # fmt: skip


def _about_ranks(graph: Graph, target: str) -> Iterator[Finding]:
    deep = [node for node in graph.nodes if node.op not in _LAYOUT and _rank(node) > 4]
    spatial = [node for node in deep if any(word in node.op for word in _SPATIAL)]
    others = [node for node in deep if node not in spatial]
    if spatial:
        kinds = {node.op for node in spatial}
        # CANN's page of Conv takes (N, C, D, H, W) as float16 on the series of the 310P
        documented = graph.kind == "onnx" and target == "ascend310p" and kinds == {"Conv"}
        yield Finding(
            "check" if documented else "stop",
            f"5D tensors in {', '.join(sorted(kinds))}: MindSpore Lite's converter (2.0.0, tried) "
            "refuses 3D convolutions"
            + ("; CANN documents them for atc, in float16" if documented else ""),
            _where([node.name for node in spatial]),
            "use the 4D form: the method spatiotemporal, ms_eff.apply_spatiotemporal",
        )
    if others:
        yield Finding(
            "check", f"tensors of more than 4 axes in {', '.join(sorted({n.op for n in others}))}",
            _where([node.name for node in others]), "reshape to 4 axes before computing",
        )  # fmt: skip


def _about_types(graph: Graph) -> Iterator[Finding]:
    tensors = [*graph.inputs, *graph.weights]
    double = [tensor.name for tensor in tensors if tensor.dtype == "float64"]
    double += [
        node.name
        for node in graph.nodes
        if any(tensor.dtype == "float64" for tensor in node.outputs)
    ]
    if double:
        yield Finding(
            "stop", "float64: precision modes lower float32 only, and the AI Core has no double",
            _where(double), "cast to float32 before exporting",
        )  # fmt: skip


def _about_opset(graph: Graph, target: str) -> Iterator[Finding]:
    first, last = opset_range(target)
    if graph.kind == "onnx" and not first <= graph.opset <= last:
        yield Finding(
            "check", f"opset {graph.opset}: the page for {target} names {first} to {last}", "-",
            "take a CANN release that names it, or export with an older opset",
        )  # fmt: skip


def _rank(node: Node) -> int:
    return max((len(tensor.shape or ()) for tensor in node.outputs), default=0)


def _where(names: list[str]) -> str:
    more = f" and {len(names) - 1} more" if len(names) > 1 else ""
    return f"{names[0]}{more}"
