"""Exported ONNX files put into a form that every runtime computes rightly."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ms_eff.deploy.onnx_schema import new_model

__all__ = ["rewrite"]

_AXES_ARE_INPUTS = 13  # opset from which ReduceSum no longer takes its axes as an attribute


def rewrite(path: Path) -> int:
    """Write sums of squares as a product and a sum; return how many there were.

    MindSpore exports a layer normalisation with ReduceSumSquare. MindSpore Lite 2.0.0 converts that
    without a word and gets it wrong on a CPU (outputs are off by more than their size); the product
    and the sum it computes as onnxruntime does.

    Args:
        path: an ONNX file as MindSpore's exporter wrote it; replaced unless nothing changes.
    """
    model = new_model()
    model.ParseFromString(path.read_bytes())
    if max((entry.version for entry in model.opset_import), default=0) >= _AXES_ARE_INPUTS:
        return 0
    found = [node for node in model.graph.node if node.op_type == "ReduceSumSquare"]
    if not found:
        return 0
    nodes: list[Any] = []
    for node in model.graph.node:
        copy = type(node)()
        copy.CopyFrom(node)
        if copy.op_type == "ReduceSumSquare":
            squares = f"{copy.output[0]}_squares"
            values = copy.input[0]
            nodes.append(
                type(node)(op_type="Mul", name=squares, input=[values, values], output=[squares])
            )
            copy.op_type = "ReduceSum"
            copy.input[0] = squares
        nodes.append(copy)
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    path.write_bytes(model.SerializeToString())
    return len(found)
