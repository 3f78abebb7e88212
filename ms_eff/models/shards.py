"""Safetensors read array by array, straight from disk: one file, or shards with an index.

A model larger than memory can be walked through this way. bfloat16, which NumPy lacks, is widened.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np

from ms_eff.errors import CheckpointError
from ms_eff.files import read_json

__all__ = ["Shards"]

_TYPES = {
    "F64": np.float64,
    "F32": np.float32,
    "F16": np.float16,
    "BF16": np.uint16,
    "I64": np.int64,
    "I32": np.int32,
    "I16": np.int16,
    "I8": np.int8,
    "U8": np.uint8,
    "BOOL": np.bool_,
}
_INDEX = "model.safetensors.index.json"
_SINGLE = "model.safetensors"


class Shards:
    """The arrays of a safetensors file, or of a folder that holds one or an index of several.

    Raises:
        CheckpointError: nothing is there, or a file is damaged or cut short.

    >>> import tempfile
    >>> from safetensors.numpy import save_file
    >>> folder = Path(tempfile.mkdtemp())
    >>> save_file({"a": np.arange(3.0)}, folder / "model.safetensors")
    >>> Shards(folder).array("a").tolist()
    [0.0, 1.0, 2.0]
    """

    def __init__(self, path: str | Path) -> None:
        path = Path(path)
        self.path = path
        self._places: dict[str, tuple[Path, int, dict[str, Any]]] = {}
        for file in _files(path):
            start, header = _header(file)
            for name, entry in header.items():
                self._places[name] = (file, start, entry)

    def __contains__(self, name: str) -> bool:
        return name in self._places

    def names(self) -> list[str]:
        """Return the names of all arrays."""
        return list(self._places)

    def shape(self, name: str) -> tuple[int, ...]:
        """Return the shape of an array without reading it."""
        return tuple(self._place(name)[2]["shape"])

    def array(self, name: str) -> np.ndarray:
        """Return one array, read now; bfloat16 comes as float32."""
        file, start, entry = self._place(name)
        dtype, shape = _TYPES[entry["dtype"]], tuple(entry["shape"])
        count = math.prod(shape)
        array = np.fromfile(file, dtype, count, offset=start + entry["data_offsets"][0])
        if entry["dtype"] == "BF16":  # the upper half of a float32
            array = (array.astype(np.uint32) << 16).view(np.float32)
        return array.reshape(shape)

    def _place(self, name: str) -> tuple[Path, int, dict[str, Any]]:
        if name not in self._places:
            raise CheckpointError(f"{self.path}: holds no array '{name}'; is it another model?")
        return self._places[name]


def _files(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    if (path / _INDEX).is_file():
        index = read_json(path / _INDEX, CheckpointError)
        if not isinstance(index, dict) or not isinstance(index.get("weight_map"), dict):
            raise CheckpointError(f"{path / _INDEX}: holds no weight_map; fetch it again")
        return sorted({path / name for name in index["weight_map"].values()})
    if (path / _SINGLE).is_file():
        return [path / _SINGLE]
    raise CheckpointError(f"{path}: no weights here; expected {_SINGLE} or {_INDEX}")


def _header(file: Path) -> tuple[int, dict[str, Any]]:
    """Return where the data start, and the description of each array; checked against the size."""
    try:
        size = file.stat().st_size
        with file.open("rb") as stream:
            length = int.from_bytes(stream.read(8), "little")
            if length > size - 8:
                raise ValueError("its header is longer than the file")
            header = json.loads(stream.read(length))
        header.pop("__metadata__", None)
        for name, entry in header.items():
            begin, end = entry["data_offsets"]
            bytes_ = math.prod(entry["shape"]) * np.dtype(_TYPES[entry["dtype"]]).itemsize
            if end - begin != bytes_ or begin < 0 or 8 + length + end > size:
                raise ValueError(f"'{name}' does not fit into it")
    except OSError as error:
        raise CheckpointError(f"{file}: cannot be read: {error.strerror}") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(
            f"{file}: the file is damaged or cut short ({error}); fetch or save it again"
        ) from error
    return 8 + length, header
