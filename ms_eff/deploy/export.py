"""Export to MindIR or ONNX: a file appears under its name only after it reproduced the network."""

from __future__ import annotations

import hashlib
import json
import os
import re
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from mindspore import nn

from ms_eff.bench.environment import describe
from ms_eff.deploy import verify, writers
from ms_eff.deploy.inputs import Arrays, InputSpec, batches_of, specs
from ms_eff.deploy.operators import ExportError
from ms_eff.errors import VerificationError, first_line, nearest

__all__ = ["Exported", "export"]


@dataclass(frozen=True)
class Exported:
    """A verified export.

    Attributes:
        path: the file to load.
        format: `mindir` or `onnx`.
        inputs: what the graph takes; with `dynamic_batch`, the first axis is free.
        outputs: shapes of what it gives, at the batch size of `inputs`.
        dynamic_batch: whether any batch size is taken.
        difference: from the live network.
        tolerance: what was allowed, times `difference.scale`.
        sha256: of the file.
    """

    path: Path
    format: str
    inputs: tuple[InputSpec, ...]
    outputs: tuple[tuple[int, ...], ...]
    dynamic_batch: bool
    difference: verify.Difference
    tolerance: float
    sha256: str

    def to_dict(self) -> dict[str, Any]:
        """Return what results and the side file record."""
        return {
            "file": self.path.name,
            "format": self.format,
            "inputs": [spec.to_dict() for spec in self.inputs],
            "outputs": [list(shape) for shape in self.outputs],
            "dynamic_batch": self.dynamic_batch,
            "max_abs_difference": self.difference.max_abs,
            "output_scale": self.difference.scale,
            "samples_compared": self.difference.samples,
            "tolerance": self.tolerance,
            "sha256": self.sha256,
            "bytes": self.path.stat().st_size,
        }


def export(
    cell: nn.Cell,
    path: str | Path,
    input_shape: Sequence[int] | Sequence[InputSpec],
    format: str | None = None,
    *,
    dynamic_batch: bool = False,
    real_inputs: np.ndarray | Sequence[np.ndarray] | None = None,
    tolerance: float = 1e-4,
    seed: int = 0,
    command: str | Sequence[str] | None = None,
) -> Exported:
    """Export a network, load the file again, compare, and only then give it its name.

    A failure leaves the folder as it was: nothing half-written, and a file of an earlier export
    stays. Beside `net.onnx` stands `net.onnx.json` with inputs, difference, hash and environment.

    Args:
        cell: the network, exported in inference mode; its own mode comes back afterwards.
        path: the file; its suffix may stand for the format, and is added where it is missing.
        input_shape: of the one input, batch axis first, or one `InputSpec` for each input.
        format: `mindir` or `onnx`; by default what the suffix says.
        dynamic_batch: leave the batch axis free, and verify at two batch sizes.
        real_inputs: samples, (N, ...), one array for each input, compared beside random ones.
        tolerance: largest difference allowed, relative to the largest output where that is over 1.
        seed: of the random inputs.
        command: what the side file says made it.

    Raises:
        ExportError: unknown format, inputs that the network does not take, an operator that the
            exporter lacks, an unwritable folder.
        VerificationError: the exported model does not reproduce the live one.
    """
    path = Path(path)
    format = _format(path, format)
    inputs = specs(input_shape)
    stem = path.name.removesuffix(writers.FORMATS[format])
    batches = _batches(inputs, dynamic_batch, real_inputs, np.random.default_rng(seed))
    expected = verify.live(cell)
    outputs = _output_shapes(cell, expected, batches[0])
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{stem}-", dir=path.parent) as scratch:
            file = writers.write(cell, Path(scratch), stem, format, inputs, dynamic_batch)
            gap = _verified(path, file, expected, batches, tolerance)
            done = Exported(
                file, format, inputs, outputs, dynamic_batch, gap, tolerance, _sha256(file)
            )
            _note(done, describe(command, seed))
            return _publish(done, path.parent)
    except OSError as error:
        raise ExportError(
            f"path: cannot write {path.name} in {path.parent} ({error.strerror or error}); "
            "choose a folder that takes it"
        ) from error


def _output_shapes(
    cell: nn.Cell, expected: verify.Predict, batch: Arrays
) -> tuple[tuple[int, ...], ...]:
    try:
        return tuple(array.shape for array in expected(batch))
    except (RuntimeError, TypeError, ValueError) as error:
        raise ExportError(
            f"input_shape: {type(cell).__name__} does not take "
            f"{[array.shape for array in batch]} ({first_line(error)})"
        ) from error


def _format(path: Path, format: str | None) -> str:
    suffixes = {suffix: name for name, suffix in writers.FORMATS.items()}
    found = format or suffixes.get(path.suffix)
    if found not in writers.FORMATS:
        raise ExportError(
            f"format: expected {' or '.join(writers.FORMATS)}, got "
            f"{format or path.suffix or path.name!r}{nearest(str(format), writers.FORMATS)}"
        )
    if path.suffix in suffixes and suffixes[path.suffix] != found:
        raise ExportError(
            f"path: {path.name} says {suffixes[path.suffix]}, format says {found}; drop one"
        )
    if not re.fullmatch(r"[\w@.:-]+", path.name, re.ASCII):
        raise ExportError(
            f"path: the exporters take no file name like {path.name!r}; "
            "use letters, digits and @ . : _ - (folders may be called anything)"
        )
    return found


def _batches(
    inputs: Sequence[InputSpec],
    dynamic_batch: bool,
    real_inputs: np.ndarray | Sequence[np.ndarray] | None,
    rng: np.random.Generator,
) -> list[Arrays]:
    batch = inputs[0].shape[0]
    sizes = [batch, 1 if batch > 1 else 2] if dynamic_batch else [batch]
    random = [tuple(spec.random(rng, size) for spec in inputs) for size in sizes]
    return random + ([] if real_inputs is None else batches_of(real_inputs, inputs))


def _verified(
    path: Path, file: Path, expected: verify.Predict, batches: list[Arrays], tolerance: float
) -> verify.Difference:
    try:
        gap = verify.difference(expected, verify.load(file), batches)
    except VerificationError as error:
        raise VerificationError(f"{error}; {path.name} was not written") from error
    if not gap.within(tolerance):
        raise VerificationError(
            f"{path.name}: outputs differ from the live model's by {gap.max_abs:.3g} (largest "
            f"output {gap.scale:.3g}), tolerance {tolerance:.3g}; nothing was written"
        )
    return gap


def _note(done: Exported, environment: dict[str, Any]) -> None:
    text = json.dumps({**done.to_dict(), "environment": environment}, indent=2)
    done.path.with_name(done.path.name + ".json").write_text(text + "\n")


def _publish(done: Exported, folder: Path) -> Exported:
    """Move everything out of the scratch folder, the file to load last but for its note."""
    parts = sorted(
        done.path.parent.iterdir(), key=lambda part: part.name.startswith(done.path.name)
    )
    for part in parts:
        target = folder / part.name
        if target.is_dir():  # the weights of an earlier export; a folder is not replaced in one go
            for old in target.iterdir():
                old.unlink()
            target.rmdir()
        os.replace(part, target)
    return Exported(**{**done.__dict__, "path": folder / done.path.name})


def _sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
