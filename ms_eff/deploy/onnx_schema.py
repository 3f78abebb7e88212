"""The part of ONNX's protobuf format that the doctor reads; fields it does not name are kept.

Field numbers are those of onnx.proto (ONNX IR versions 3 to 10). The `onnx` package itself does not
fit MindSpore's NumPy 1.26.
"""

from __future__ import annotations

import os
from functools import cache
from typing import Any

__all__ = ["ELEMENT_TYPES", "new_model"]

# TensorProto.DataType -> NumPy's name
ELEMENT_TYPES = {
    1: "float32", 2: "uint8", 3: "int8", 4: "uint16", 5: "int16", 6: "int32", 7: "int64",
    8: "string", 9: "bool", 10: "float16", 11: "float64", 12: "uint32", 13: "uint64",
    16: "bfloat16",
}  # fmt: skip

# message -> field, number, type (of protobuf, or a message here), repeated
_MESSAGES: dict[str, tuple[tuple[str, int, str, bool], ...]] = {
    "Dimension": (("dim_value", 1, "int64", False), ("dim_param", 2, "string", False)),
    "Shape": (("dim", 1, "Dimension", True),),
    "TensorType": (("elem_type", 1, "int32", False), ("shape", 2, "Shape", False)),
    "Type": (("tensor_type", 1, "TensorType", False),),
    "ValueInfo": (("name", 1, "string", False), ("type", 2, "Type", False)),
    "Tensor": (
        ("dims", 1, "int64", True),
        ("data_type", 2, "int32", False),
        ("name", 8, "string", False),
    ),
    "Attribute": (
        ("name", 1, "string", False),
        ("t", 5, "Tensor", False),
        ("g", 6, "Graph", False),
        ("graphs", 11, "Graph", True),
    ),
    "Node": (
        ("input", 1, "string", True),
        ("output", 2, "string", True),
        ("name", 3, "string", False),
        ("op_type", 4, "string", False),
        ("attribute", 5, "Attribute", True),
        ("domain", 7, "string", False),
    ),
    "Graph": (
        ("node", 1, "Node", True),
        ("name", 2, "string", False),
        ("initializer", 5, "Tensor", True),
        ("input", 11, "ValueInfo", True),
        ("output", 12, "ValueInfo", True),
        ("value_info", 13, "ValueInfo", True),
    ),
    "OpsetImport": (("domain", 1, "string", False), ("version", 2, "int64", False)),
    "Model": (
        ("ir_version", 1, "int64", False),
        ("graph", 7, "Graph", False),
        ("opset_import", 8, "OpsetImport", True),
    ),
}


def new_model() -> Any:
    """Return an empty ONNX model message.

    >>> model = new_model()
    >>> model.graph.node.add(op_type="Relu").op_type
    'Relu'
    """
    return _model_class()()


@cache
def _model_class() -> Any:
    # as MindSpore sets it: where protobuf was loaded otherwise before, importing MindSpore aborts
    os.environ.setdefault("PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION", "python")
    from google.protobuf import (  # type: ignore[import-untyped]
        descriptor_pb2,
        descriptor_pool,
        message_factory,
    )

    file = descriptor_pb2.FileDescriptorProto(name="ms_eff_onnx.proto", package="ms_eff_onnx")
    kinds = descriptor_pb2.FieldDescriptorProto
    scalars = {
        "int32": kinds.TYPE_INT32,
        "int64": kinds.TYPE_INT64,
        "string": kinds.TYPE_STRING,
    }
    for name, fields in _MESSAGES.items():
        message = file.message_type.add(name=name)
        for field, number, kind, repeated in fields:
            added = message.field.add(name=field, number=number)
            added.label = kinds.LABEL_REPEATED if repeated else kinds.LABEL_OPTIONAL
            if kind in scalars:
                added.type = scalars[kind]
            else:
                added.type = kinds.TYPE_MESSAGE
                added.type_name = f".ms_eff_onnx.{kind}"
    pool = descriptor_pool.DescriptorPool()  # one of our own: no clash with an installed onnx
    pool.AddSerializedFile(file.SerializeToString())
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("ms_eff_onnx.Model"))
