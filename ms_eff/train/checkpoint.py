"""Checkpoints: a folder of safetensors and one JSON, whole or not there at all.

`state.json` holds what the network is (model, plans), where training stands, and the SHA-256 of
every other file and of itself. A folder is written under a temporary name, flushed, and renamed.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from mindspore import Parameter, Tensor, nn
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from ms_eff.errors import CheckpointError, UserError, first_line, nearest
from ms_eff.files import flush, read_json

__all__ = ["Checkpoint", "assign", "built", "read", "rebuild", "save", "verified"]

FORMAT = 2
_WITHOUT_OWN_SUM = 1  # what earlier versions wrote; still read
WEIGHTS, TRAINING, STATE = "model.safetensors", "training.safetensors", "state.json"
_OWN = "sha256"  # the key of the sum of everything else in the state


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint as read and verified.

    Attributes:
        path: its folder.
        state: `model`, `plans`, and, from training, `epoch`, `step`, `history`, ...
        weights: every parameter of the network, by name.
        training: optimiser moments, averages, method state; empty for a plain model.
    """

    path: Path
    state: dict[str, Any]
    weights: dict[str, np.ndarray]
    training: dict[str, np.ndarray]


def save(
    path: Path,
    weights: Mapping[str, np.ndarray],
    state: Mapping[str, Any],
    training: Mapping[str, np.ndarray] | None = None,
    texts: Mapping[str, str] | None = None,
) -> Path:
    """Write a checkpoint folder atomically, replacing one of that name.

    Args:
        path: the folder.
        weights: every parameter of the network, by name.
        state: JSON-able values beside them.
        training: what only a resumed training needs.
        texts: files by name that other tools look for here (config.json).

    Raises:
        CheckpointError: the folder cannot be written (full disk, no permission); nothing is left.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.mkdir(parents=True)
        files = {WEIGHTS: weights} | ({TRAINING: training} if training else {})
        for name, arrays in files.items():
            # safetensors stores memory as it lies: a transposed view would come back wrong
            save_file({k: np.asarray(v, order="C") for k, v in arrays.items()}, temporary / name)
        for name, content in (texts or {}).items():
            (temporary / name).write_text(content, encoding="utf-8")
        sums = {name: _sha256(temporary / name) for name in files}
        whole = {"format": FORMAT, "files": sums, **state}
        text = json.dumps({**whole, _OWN: _sum_of(whole)}, indent=1)
        (temporary / STATE).write_text(text, encoding="utf-8")
        for file in (*temporary.iterdir(), temporary):
            flush(file)
        _replace(temporary, path)
    except (OSError, SafetensorError) as error:
        shutil.rmtree(temporary, ignore_errors=True)
        raise CheckpointError(
            f"{path}: checkpoint cannot be written: {_reason(error)}; nothing was changed there. "
            "Free space, or choose another output=FOLDER"
        ) from error
    return path


def read(path: str | Path) -> Checkpoint:
    """Read a checkpoint folder and verify every file against its checksum.

    Raises:
        CheckpointError: missing, damaged, or not one of ours; the message names the file.
    """
    path = Path(path)
    state = _state(path / STATE)
    sums = state["files"]
    arrays = {name: _load(path / name, sum_) for name, sum_ in sums.items()}
    return Checkpoint(path, state, arrays.get(WEIGHTS, {}), arrays.get(TRAINING, {}))


def verified(path: str | Path) -> dict[str, Any]:
    """Return a checkpoint's state, its files compared with their sums but not held in memory.

    Raises:
        CheckpointError: missing, damaged, or not one of ours; the message names the file.
    """
    path = Path(path)
    state = _state(path / STATE)
    for name, sum_ in state["files"].items():
        _compare(path / name, sum_)
    return state


def assign(cell: nn.Cell, weights: Mapping[str, np.ndarray], source: object) -> None:
    """Put arrays into the network's parameters; names and shapes must match one to one.

    Raises:
        CheckpointError: the first missing, unexpected or misshapen name; nothing is loaded then.
    """
    own: dict[str, Parameter] = {p.name: p for p in cell.get_parameters()}
    for name, parameter in own.items():
        if name not in weights:
            raise CheckpointError(
                f"{source}: of another model: '{name}' is missing{nearest(name, weights)}"
            )
        if tuple(weights[name].shape) != tuple(parameter.shape):
            raise CheckpointError(
                f"{source}: of another model: '{name}' is {tuple(weights[name].shape)}, "
                f"the network has {tuple(parameter.shape)}; check model and methods"
            )
    for name in weights:
        if name not in own:
            raise CheckpointError(f"{source}: of another model: it has '{name}', the network not")
    for name, parameter in own.items():
        parameter.set_data(Tensor(weights[name]))


# what foreign values make builders raise; errors of ours (UserError) pass as they are
_ODD = (ArithmeticError, AttributeError, LookupError, MemoryError, RuntimeError, TypeError)


def rebuild(source: str | Path | Checkpoint) -> nn.Cell:
    """Build the network a checkpoint describes (model, then each plan) and load its weights.

    Raises:
        UserError: the checkpoint is missing, damaged, or describes no network that can be built.
    """
    checkpoint = source if isinstance(source, Checkpoint) else read(source)
    cell = built(checkpoint.state, checkpoint.path)
    weights = checkpoint.weights
    if checkpoint.state.get("naming") == "hf":
        from ms_eff.models.hf_names import from_hf

        weights = from_hf(weights, checkpoint.state["model"]["name"])
    assign(cell, weights, checkpoint.path)
    return cell


def built(state: Mapping[str, Any], path: Path) -> nn.Cell:
    """Build the network that a checkpoint's state describes, without its weights.

    Raises:
        UserError: it describes none that can be built.
    """
    try:
        cell = _described(state)
    except UserError:
        raise
    except (*_ODD, ValueError) as error:
        raise CheckpointError(
            f"{path / STATE}: describes no network that can be built "
            f"({first_line(error)}); {_instead(path)}"
        ) from error
    if cell is None:
        raise CheckpointError(f"{path / STATE}: holds no model description")
    return cell


def _described(state: Mapping[str, Any]) -> nn.Cell | None:
    from ms_eff import models
    from ms_eff.methods.registry import method_class

    described = state.get("model")
    if not described:
        return None
    cell = models.build(described["name"], **described["args"])
    for entry in state.get("plans", []):
        cell = method_class(entry["method"]).rebuild(cell, entry["plan"])
    return cell


def _state(file: Path) -> dict[str, Any]:
    """Return what a state file holds, its own sum verified and taken out."""
    if not file.is_file():
        raise CheckpointError(f"{file.parent}: no checkpoint here ({STATE} is missing)")
    try:
        state = read_json(file, CheckpointError)
    except CheckpointError as error:
        raise CheckpointError(f"{error}; {_instead(file.parent)}") from error
    form = state.get("format") if isinstance(state, dict) else None
    if form not in (FORMAT, _WITHOUT_OWN_SUM):
        raise CheckpointError(f"{file}: format {form} is not the {FORMAT} of this ms_eff")
    if form == FORMAT and state.pop(_OWN, None) != _sum_of(state):
        raise CheckpointError(
            f"{file}: damaged: its SHA-256 is not the one in it; {_instead(file.parent)}"
        )
    sums = state.get("files")
    if not isinstance(sums, dict) or not sums.keys() <= {WEIGHTS, TRAINING}:
        raise CheckpointError(f"{file}: damaged: it names no files; {_instead(file.parent)}")
    return state


def _sum_of(state: Mapping[str, Any]) -> str:
    """Return the SHA-256 of values as JSON; reading JSON and writing it again changes nothing."""
    return hashlib.sha256(json.dumps(state).encode()).hexdigest()


def _load(file: Path, expected: str) -> dict[str, np.ndarray]:
    try:
        _compare(file, expected)
        return load_file(file)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{file}: cannot be read: {_reason(error)}") from error


def _compare(file: Path, expected: str) -> None:
    """Refuse a file that is not the one that was written."""
    try:
        found = _sha256(file)
    except OSError as error:
        raise CheckpointError(f"{file}: cannot be read: {_reason(error)}") from error
    if found != expected:
        raise CheckpointError(
            f"{file}: damaged: its SHA-256 is not the one in {STATE}; {_instead(file.parent)}"
        )


def _instead(path: Path) -> str:
    """Offer the newest of the training checkpoints beside a damaged one."""
    steps = sorted(p.parent for p in path.parent.glob(f"step-*/{STATE}") if p.parent != path)
    return f"use another checkpoint{f', such as {steps[-1]}' if steps else ''}"


def _replace(temporary: Path, path: Path) -> None:
    if path.exists():  # a folder cannot be renamed over a full one
        old = path.with_name(f".{path.name}.{os.getpid()}.old")
        path.rename(old)
        temporary.rename(path)
        shutil.rmtree(old, ignore_errors=True)
    else:
        temporary.rename(path)
    flush(path.parent)


def _sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error).splitlines()[0]
