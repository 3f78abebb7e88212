"""MindSpore's .ckpt as plain data: a protobuf list of (name, shape, type, bytes).

MindSpore's own reader trusts the shapes in the file, so that a damaged one makes it write past a
buffer and kills the process; its writer leaves a half-written file when the disk is full.
"""

from __future__ import annotations

import binascii
import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np

__all__ = ["read_ckpt", "write_ckpt"]

_TYPES = {
    "Int8": np.int8,
    "UInt8": np.uint8,
    "Int16": np.int16,
    "UInt16": np.uint16,
    "Int32": np.int32,
    "UInt32": np.uint32,
    "Int64": np.int64,
    "UInt64": np.uint64,
    "Float16": np.float16,
    "Float32": np.float32,
    "Float64": np.float64,
    "Bool": np.bool_,
    "BFloat16": np.uint16,  # NumPy has no such type: widened below
}
# a file saved with crc_check=True ends in this mark and ten bytes of CRC-32
_CRC_MARK, _CRC_LENGTH = b"crc_num", 10
# no protobuf message may reach 2 GiB
_PIECE = 1 << 29


def read_ckpt(path: Path) -> dict[str, np.ndarray]:
    """Return the arrays of a .ckpt by name; strings beside them are left out.

    Raises:
        ValueError: the file is damaged; the message says where.
    """
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
    from mindspore.train.checkpoint_pb2 import Checkpoint

    checkpoint = Checkpoint()
    try:
        checkpoint.ParseFromString(_checked(path.read_bytes()))
    except DecodeError as error:
        raise ValueError("not a list of MindSpore arrays") from error
    chunks: dict[str, list[bytes]] = {}
    heads = {}
    for value in checkpoint.value:  # a large array comes in several pieces of one name
        if value.tensor.tensor_type != "str" and not value.HasField("maptensor"):
            chunks.setdefault(value.tag, []).append(value.tensor.tensor_content)
            heads[value.tag] = (value.tensor.tensor_type, tuple(value.tensor.dims))
    if not heads:
        raise ValueError("it holds no arrays")
    return {name: _array(name, *heads[name], b"".join(parts)) for name, parts in chunks.items()}


def write_ckpt(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write arrays as a .ckpt that MindSpore loads.

    Raises:
        OSError: the file cannot be written.
    """
    from mindspore.train.checkpoint_pb2 import Checkpoint

    kinds = {np.dtype(dtype): kind for kind, dtype in _TYPES.items() if kind != "BFloat16"}
    with path.open("wb") as stream:
        for name, array in arrays.items():
            content = array.tobytes()
            kind = "BFloat16" if array.dtype.name == "bfloat16" else kinds[array.dtype]
            for start in range(0, len(content), _PIECE):
                piece = Checkpoint()
                value = piece.value.add()
                value.tag = name
                value.tensor.dims.extend(array.shape or (0,))  # MindSpore's mark of a scalar
                value.tensor.tensor_type = kind
                value.tensor.tensor_content = content[start : start + _PIECE]
                stream.write(piece.SerializeToString())  # messages in a row are one longer list


def _checked(content: bytes) -> bytes:
    tail = len(_CRC_MARK) + _CRC_LENGTH
    if content[-tail:-_CRC_LENGTH] != _CRC_MARK:
        return content
    content, stored = content[:-tail], int.from_bytes(content[-_CRC_LENGTH:], "big")
    if binascii.crc32(content) != stored:
        raise ValueError("its checksum does not match")
    return content


def _array(name: str, kind: str, shape: tuple[int, ...], content: bytes) -> np.ndarray:
    dtype = _TYPES.get(kind)
    if dtype is None:
        raise ValueError(f"'{name}' is of type {kind!r}")
    if shape == (0,) and len(content) == np.dtype(dtype).itemsize:
        shape = ()
    expected = math.prod(shape) * np.dtype(dtype).itemsize
    if min(shape, default=0) < 0 or expected != len(content):
        raise ValueError(
            f"'{name}' of shape {shape} should take {expected} bytes, found {len(content)}"
        )
    flat = np.frombuffer(content, dtype)
    if kind == "BFloat16":  # the upper half of a float32
        flat = (flat.astype(np.uint32) << 16).view(np.float32)
    return flat.reshape(shape)
