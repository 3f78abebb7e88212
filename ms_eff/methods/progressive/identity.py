"""What models and texts are known by, so that nothing is reused for other ones; NumPy only.

Names do not tell a model from its fine-tuned copy, nor shapes: what is on disk does.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from ms_eff.errors import CheckpointError

__all__ = ["file_digest", "ids_digest", "json_digest", "model_digest"]

# hexadecimal digits of a digest: 64 bits tell apart what one folder may ever hold
_DIGITS = 16
# bytes of a file that are looked at, and in how many pieces, its ends among them
_LOOK, _PIECES = 1 << 28, 1 << 12


def model_digest(model: Any, layers: Iterable[str] = ()) -> str:
    """Return what tells a model from any other, in seconds whatever its size.

    Args:
        model: has a `digest` of its own, or a `path` to a file or folder of weights; or it is in
            memory, and gives arrays by name.
        layers: whose `<layer>.weight` tell a model in memory from others.

    Raises:
        CheckpointError: a file cannot be read.
    """
    if hasattr(model, "digest"):
        return str(model.digest())
    path = getattr(model, "path", None)
    if path is not None:
        return _path_digest(Path(path))
    found = hashlib.sha256()
    for layer in layers:
        found.update(np.ascontiguousarray(model.array(f"{layer}.weight")).tobytes())
    return found.hexdigest()[:_DIGITS]


def ids_digest(ids: np.ndarray) -> str:
    """Return what tells token ids from others of any shape.

    >>> ids_digest(np.array([1, 2])) == ids_digest(np.array([[1], [2]]))
    True
    """
    return hashlib.sha256(np.ascontiguousarray(ids, "<i4").tobytes()).hexdigest()[:_DIGITS]


def json_digest(content: Any) -> str:
    """Return what tells JSON content from other, whatever the order of its keys."""
    text = json.dumps(content, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:_DIGITS]


def file_digest(path: Path) -> str:
    """Return what tells a file from others: all of it, or its size and pieces spread over it.

    Raises:
        CheckpointError: it cannot be read.
    """
    try:
        size = path.stat().st_size
        found = hashlib.sha256(str(size).encode())
        with path.open("rb") as stream:
            if size <= _LOOK:
                while block := stream.read(1 << 20):
                    found.update(block)
            else:
                length = _LOOK // _PIECES
                for start in np.linspace(0, size - length, _PIECES).astype(np.int64):
                    stream.seek(int(start))
                    found.update(stream.read(length))
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read: {error.strerror}") from error
    return found.hexdigest()[:_DIGITS]


def _path_digest(path: Path) -> str:
    """Return that of a model's file, or of the weights and the config in its folder."""
    if not path.is_dir():
        return file_digest(path)
    weights = sorted(path.glob("*.safetensors"))
    files = [file for file in (path / "config.json", *weights) if file.is_file()]
    return json_digest({file.name: file_digest(file) for file in files})
