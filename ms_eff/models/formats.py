"""Files of named arrays: safetensors, torch's .pth and MindSpore's .ckpt.

Nothing here runs code from a file: safetensors and .ckpt hold data only, .pth is read with
``weights_only``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from ms_eff.errors import CheckpointError, SetupError
from ms_eff.files import replacing
from ms_eff.models.ckpt import read_ckpt, write_ckpt

__all__ = ["read_arrays", "write_arrays"]


def read_arrays(path: str | Path) -> dict[str, np.ndarray]:
    """Return the arrays of a weight file by name; bfloat16 comes as float32.

    Raises:
        CheckpointError: the file is missing, damaged or of an unknown kind.
        SetupError: .pth, and torch is not installed.
    """
    path = Path(path)
    reader = _READERS.get(path.suffix)
    if reader is None:
        raise CheckpointError(
            f"{path}: unknown kind of weight file '{path.suffix}'; known: {', '.join(_READERS)}"
        )
    try:
        path.open("rb").close()
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read: {error.strerror}") from error
    return {name: _as_numpy(array) for name, array in reader(path).items()}


def write_arrays(path: str | Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write arrays as .safetensors or .ckpt, all or nothing.

    Raises:
        CheckpointError: unknown kind of file, or it cannot be written.
    """
    path = Path(path)
    writer = _WRITERS.get(path.suffix)
    if writer is None:
        raise CheckpointError(
            f"{path}: weights are written as {' or '.join(_WRITERS)}, not '{path.suffix}'"
        )
    with replacing(path) as temporary:
        writer(temporary, arrays)


def _as_numpy(array: np.ndarray) -> np.ndarray:
    return array.astype(np.float32) if array.dtype.name == "bfloat16" else array


def _read_safetensors(path: Path) -> dict[str, np.ndarray]:
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        return load_file(path)
    except SafetensorError as error:
        raise _damaged(path, error) from error


def _read_torch(path: Path) -> dict[str, np.ndarray]:
    try:
        import torch
    except ImportError as error:
        raise SetupError(
            f"{path}: reading {path.suffix} needs torch: pip install 'ms_eff[cross-check]', "
            "or convert the file to safetensors"
        ) from error
    try:
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file may make the unpickler raise anything
        raise _damaged(path, error, " or holds more than weights") from error
    tensors = loaded.get("state_dict", loaded) if isinstance(loaded, dict) else None
    if not isinstance(tensors, dict) or not all(
        isinstance(name, str) and isinstance(t, torch.Tensor) for name, t in tensors.items()
    ):
        raise CheckpointError(
            f"{path}: a dict of tensors is expected, or one under 'state_dict'; "
            "save the model's state_dict()"
        )
    try:
        return {
            name: (t.float() if t.dtype == torch.bfloat16 else t).detach().numpy()
            for name, t in tensors.items()
        }
    except (TypeError, RuntimeError) as error:  # sparse, or of 8 bits
        raise CheckpointError(
            f"{path}: a tensor that NumPy cannot hold ({str(error).splitlines()[0][:120]}); save "
            "dense tensors of float32, float16 or bfloat16"
        ) from error


def _read_ckpt(path: Path) -> dict[str, np.ndarray]:
    try:
        return read_ckpt(path)
    except ValueError as error:
        raise _damaged(path, error) from error


def _damaged(path: Path, error: Exception, more: str = "") -> CheckpointError:
    plain = re.sub(r"\x1b\[[\d;]*m", "", str(error))  # torch writes its messages in bold
    reason = " ".join(plain.split())[:120] or type(error).__name__
    return CheckpointError(
        f"{path}: the file is damaged or cut short{more} ({reason}); fetch or save it again"
    )


def _write_safetensors(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    from safetensors import SafetensorError
    from safetensors.numpy import save_file

    try:
        save_file({name: np.asarray(a, order="C") for name, a in arrays.items()}, path)
    except SafetensorError as error:  # it wraps the system's refusals: disk full, quota
        raise OSError(str(error)) from error


_READERS: dict[str, Callable[[Path], dict[str, np.ndarray]]] = {
    ".safetensors": _read_safetensors,
    ".pth": _read_torch,
    ".pt": _read_torch,
    ".ckpt": _read_ckpt,
}
_WRITERS: dict[str, Callable[[Path, Mapping[str, np.ndarray]], None]] = {
    ".safetensors": _write_safetensors,
    ".ckpt": write_ckpt,
}
