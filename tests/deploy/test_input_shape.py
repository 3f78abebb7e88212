"""Shapes of the command line against a graph's, before any tool of Huawei's is asked."""

from __future__ import annotations

from pathlib import Path

import pytest

from ms_eff.deploy.input_shape import main
from ms_eff.deploy.onnx_schema import new_model


def write_onnx(path: Path, **inputs: tuple[int, ...]) -> Path:
    """Write a graph of inputs alone; a length of -1 gets a name instead of a number."""
    model = new_model()
    model.ir_version = 8
    for name, shape in inputs.items():
        dims = model.graph.input.add(name=name).type.tensor_type.shape.dim
        for length in shape:
            dims.add(**({"dim_param": "n"} if length < 0 else {"dim_value": length}))
    path.write_bytes(model.SerializeToString())
    return path


IMAGE = {"input": (1, 3, 8, 8)}
FREE = {"input": (-1, 3, 8, 8)}
IDS = {"ids": (-1, 16), "mask": (-1, 16)}


@pytest.mark.parametrize(
    ("inputs", "shape", "dynamic", "message"),
    [
        (IMAGE, "input:1,3,8,8", False, ""),
        (FREE, "input:4,3,8,8", False, ""),
        (FREE, "input:4,3,8,8", True, ""),
        (FREE, "input:-1,3,8,8", True, ""),
        (IDS, "mask:2,16;ids:2,16", True, ""),
        (IMAGE, "image:1,3,8,8", False, "'image' is no input of net.onnx; it takes input:1,3,8,8"),
        (IMAGE, "inptu:1,3,8,8", False, "'inptu' (did you mean 'input'?) is no input of"),
        (IMAGE, "input:2,3,8,8", False, "input:2,3,8,8 does not fit net.onnx; it takes input:1,3"),
        (IMAGE, "input:1,8,8,3", False, "input:1,8,8,3 does not fit"),
        (IMAGE, "input:1,3,8", False, "input:1,3,8 does not fit"),
        (FREE, "input:4,3,9,8", True, "input:4,3,9,8 does not fit net.onnx; it takes input:-1,3"),
        (FREE, "input:4", True, "input:4 does not fit"),
        (
            IDS,
            "ids:1,16",
            False,
            "nothing is given for 'mask' of net.onnx; it takes ids:-1,16;mask",
        ),
        (IDS, "ids:1,16;ids:1,16", False, "'ids' is given twice for net.onnx; it takes ids:-1,16;"),
        (
            IMAGE,
            "input:1,3,8,8",
            True,
            "--dynamic-batch: the batch axis of 'input' is fixed in net",
        ),
        ({}, "input:1", False, "net.onnx: no inputs in it"),
    ],
)
def test_what_does_not_fit_is_named_with_what_would(
    tmp_path, capsys, inputs, shape, dynamic, message
):
    file = write_onnx(tmp_path / "net.onnx", **inputs)
    words = ["--model", str(file), "--input-shape", shape, *["--dynamic-batch"] * dynamic]
    assert main(words) == (2 if message else 0)
    told = capsys.readouterr().err
    assert message in told
    assert told.count("\n") == (1 if message else 0)
