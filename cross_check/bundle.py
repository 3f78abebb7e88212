"""Bundles: what MindSpore computed, in one .npz that NumPy alone can read (no pickle).

A bundle is a list of records. Arrays carry the torch twin's names, so the reading side needs
neither MindSpore nor ms_eff.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["Bundle", "BundleError", "Record", "read", "replacing", "write"]

_FORMAT = 2
_HEADER = "header"


class BundleError(ValueError):
    """A bundle is missing, damaged or not one of ours; the message is one line."""


@dataclass(frozen=True)
class Record:
    """One case as MindSpore computed it, under one twin's names.

    Attributes:
        case: the row's name in the tables.
        twin: `module:function` under `cross_check.twins`, called with `args`.
        reference: `module:function` that decomposes anew, or None.
        mode: `graph` or `pynative`.
        dtype: what MindSpore computed in.
        smooth: whether the cell is without ReLU and the like (see `tolerances.py`).
        optimiser: lr, momentum, weight_decay of SGD.
        steps: how many it had taken when the weights `after/...` were kept.
        arrays: `input`, `target`, `forward`, `training forward`, `losses` (before each step), and
            by the twin's names `weights/...`, `gradient/...`, `after/...` (weights after `steps`),
            `dense/...` (what was decomposed); `gradient of input` unless inputs are integers.
        zero: patterns of weights whose gradient is zero in exact arithmetic (see `case.py`).
        outputs_only: whether outputs alone are bounded (see `case.py`).
    """

    case: str
    twin: str
    args: dict[str, Any]
    reference: str | None
    mode: str
    dtype: str
    smooth: bool
    optimiser: dict[str, float]
    steps: int
    arrays: dict[str, np.ndarray]
    zero: tuple[str, ...] = ()
    outputs_only: bool = False

    def group(self, prefix: str) -> dict[str, np.ndarray]:
        """Return the arrays under `prefix/`, by the rest of their names."""
        start = prefix + "/"
        return {k[len(start) :]: v for k, v in self.arrays.items() if k.startswith(start)}


@dataclass(frozen=True)
class Bundle:
    """Records and where they come from (versions, device, date, seed, commit)."""

    origin: dict[str, Any]
    records: list[Record]


def write(path: Path, bundle: Bundle) -> None:
    """Write a bundle under a temporary name, then rename it.

    Raises:
        BundleError: the file cannot be written.
    """
    arrays: dict[str, np.ndarray] = {}
    heads = []
    for i, record in enumerate(bundle.records):
        head = asdict(record)
        arrays |= {f"{i}/{name}": array for name, array in head.pop("arrays").items()}
        heads.append(head)
    header = json.dumps({"format": _FORMAT, "origin": bundle.origin, "records": heads})
    arrays[_HEADER] = np.frombuffer(header.encode(), np.uint8)
    try:
        with replacing(path) as temporary, temporary.open("wb") as stream:
            np.savez_compressed(stream, **arrays)
    except OSError as error:
        raise BundleError(f"{path}: cannot be written: {error.strerror}") from error


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a temporary name beside `path`; flush and rename what was written if all went well.

    As `ms_eff.files.replacing`, which the reading side has no access to.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.partial")
    temporary.touch()
    try:
        yield temporary
        with temporary.open("rb") as stream:
            os.fsync(stream.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def read(path: Path) -> Bundle:
    """Read a bundle.

    Raises:
        BundleError: missing, damaged or of another format.
    """
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        header = json.loads(arrays.pop(_HEADER).tobytes())
        if header["format"] != _FORMAT:
            raise BundleError(f"{path}: format {header['format']}; this side reads {_FORMAT}")
        records = [
            Record(**{**head, "zero": tuple(head["zero"])}, arrays=_of_record(arrays, i))
            for i, head in enumerate(header["records"])
        ]
    except BundleError:
        raise
    except OSError as error:
        raise BundleError(f"{path}: cannot be read: {error.strerror or error}") from error
    except Exception as error:  # a damaged zip makes its reader raise nearly anything
        reason = " ".join(str(error).split())[:200]
        raise BundleError(
            f"{path}: not a bundle, or damaged ({reason}); record it again"
        ) from error
    return Bundle(header["origin"], records)


def _of_record(arrays: dict[str, np.ndarray], index: int) -> dict[str, np.ndarray]:
    start = f"{index}/"
    return {k[len(start) :]: v for k, v in arrays.items() if k.startswith(start)}
