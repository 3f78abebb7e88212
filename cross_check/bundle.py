"""Bundles: what MindSpore computed, in one .npz that NumPy alone can read (no pickle).

A bundle is a list of records. Arrays carry the torch twin's names, so the reading side needs
neither MindSpore nor ms_eff.
"""

from __future__ import annotations

import json
import os
import zipfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["Bundle", "BundleError", "Record", "read", "write"]

_FORMAT = 1
_HEADER = "header"


class BundleError(ValueError):
    """A bundle is missing, damaged or not one of ours; the message is one line."""


@dataclass(frozen=True)
class Record:
    """One case as MindSpore computed it, under one twin's names.

    Attributes:
        case: the row's name in `cases.py`.
        twin: `module:function` under `cross_check.twins`, called with `args`.
        reference: `module:function` that decomposes anew, or None.
        mode: `graph` or `pynative`.
        dtype: what MindSpore computed in.
        optimiser: lr, momentum, weight_decay, steps.
        arrays: `input`, `cotangent`, `forward`, `training forward`, and by the twin's names
            `weights/...`, `gradient/...`, `after/...` (weights after the steps), `dense/...`
            (what was decomposed); `gradient of input` unless inputs are integers.
    """

    case: str
    twin: str
    args: dict[str, Any]
    reference: str | None
    mode: str
    dtype: str
    optimiser: dict[str, float]
    arrays: dict[str, np.ndarray]

    def group(self, prefix: str) -> dict[str, np.ndarray]:
        """Return the arrays under `prefix/`, by the rest of their names."""
        start = prefix + "/"
        return {k[len(start) :]: v for k, v in self.arrays.items() if k.startswith(start)}


@dataclass(frozen=True)
class Bundle:
    """Records and where they come from (versions, device, date)."""

    origin: dict[str, str]
    records: list[Record]


def write(path: Path, bundle: Bundle) -> None:
    """Write a bundle under a temporary name, then rename it.

    Raises:
        BundleError: the file cannot be written.
    """
    arrays = {}
    heads = []
    for i, record in enumerate(bundle.records):
        head = asdict(record)
        arrays |= {f"{i}/{name}": array for name, array in head.pop("arrays").items()}
        heads.append(head)
    header = json.dumps({"format": _FORMAT, "origin": bundle.origin, "records": heads})
    arrays[_HEADER] = np.frombuffer(header.encode(), np.uint8)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with temporary.open("wb") as stream:
            np.savez_compressed(stream, **arrays)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
    except OSError as error:
        raise BundleError(f"{path}: cannot be written: {error.strerror}") from error
    finally:
        temporary.unlink(missing_ok=True)


def read(path: Path) -> Bundle:
    """Read a bundle.

    Raises:
        BundleError: missing, damaged or of another format.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        header = json.loads(arrays.pop(_HEADER).tobytes())
        if header["format"] != _FORMAT:
            raise BundleError(f"{path}: format {header['format']}; this side reads {_FORMAT}")
        records = [
            Record(**head, arrays=_of_record(arrays, i)) for i, head in enumerate(header["records"])
        ]
    except OSError as error:
        raise BundleError(f"{path}: cannot be read: {error.strerror or error}") from error
    except (ValueError, KeyError, TypeError, AttributeError, zipfile.BadZipFile) as error:
        if isinstance(error, BundleError):
            raise
        reason = " ".join(str(error).split())[:200]
        raise BundleError(
            f"{path}: not a bundle, or damaged ({reason}); record it again"
        ) from error
    return Bundle(header["origin"], records)


def _of_record(arrays: dict[str, np.ndarray], index: int) -> dict[str, np.ndarray]:
    start = f"{index}/"
    return {k[len(start) :]: v for k, v in arrays.items() if k.startswith(start)}
