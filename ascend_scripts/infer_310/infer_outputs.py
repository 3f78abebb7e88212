"""What comes out: predictions as CSV, whole outputs as .npy; part of infer.py."""

from __future__ import annotations

import argparse
import csv
import os
import sys

import numpy as np
from infer_samples import UserError

__all__ = ["Csv", "Outputs"]


class Csv:
    """Rows that get to `--output`, or to standard output, by `finish`: all of them or none.

    Args:
        options: of the command line.

    Raises:
        UserError: unreadable labels, an output that cannot be written or is what the run reads.
    """

    def __init__(self, options: argparse.Namespace) -> None:
        self._path, self._top = options.output, options.top
        self._labels = _lines(options.labels) if options.labels else None
        self._rows: list[list[object]] = []
        self._partial = f"{self._path}.partial" if self._path else ""
        if not self._path:
            return
        for flag, other in (("--labels", options.labels), ("--model", options.model)):
            if _is_same(self._path, other):
                raise UserError(f"--output {self._path}: that is the file of {flag}; name another")
        if os.path.isdir(self._path):
            raise UserError(f"--output {self._path}: a folder; name a file in it")
        try:
            open(self._partial, "w").close()
        except OSError as error:
            raise UserError(
                f"--output {self._path}: cannot be written; choose a folder that takes it"
            ) from error

    def add(self, name: str, scores: np.ndarray) -> None:
        """Keep one sample's best classes; `scores` is (classes,)."""
        if self._labels is not None and len(self._labels) != len(scores):
            names = len(self._labels)
            raise UserError(f"--labels: {names} names, the network has {len(scores)} classes")
        row: list[object] = [name]
        for at in np.argsort(-scores, kind="stable")[: self._top]:
            row += [self._labels[at] if self._labels else int(at), f"{scores[at]:.9g}"]
        self._rows.append(row)

    def finish(self) -> None:
        """Write what was kept."""
        header = ["file"]
        for k in range(1, len(self._rows[0]) // 2 + 1):
            header += [f"class_{k}", f"score_{k}"]
        rows = [header, *self._rows]
        where = f"--output {self._path}" if self._path else "standard output"
        try:
            if not self._path:
                sys.stdout.reconfigure(errors="surrogateescape")
                csv.writer(sys.stdout, lineterminator="\n").writerows(rows)
                sys.stdout.flush()
                return
            with open(
                self._partial, "w", newline="", encoding="utf-8", errors="surrogateescape"
            ) as file:
                csv.writer(file, lineterminator="\n").writerows(rows)
            os.replace(self._partial, self._path)
        except OSError as error:
            if not self._path:  # what is still buffered would fail again when Python ends
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise UserError(f"{where}: cannot be written; is the disk full?") from error

    def close(self) -> None:
        """Remove what was not finished."""
        if self._partial and os.path.exists(self._partial):
            os.remove(self._partial)


class Outputs:
    """Samples' whole outputs as .npy files of a folder, each whole or not there.

    Args:
        options: of the command line; nothing is written without `--outputs`.
        files: names of the samples.

    Raises:
        UserError: a folder that cannot be written or is --input, two samples whose outputs would
            have the same name.
    """

    def __init__(self, options: argparse.Namespace, files: list[str]) -> None:
        self._folder = options.outputs
        if not self._folder:
            return
        if _is_same(self._folder, options.input):
            raise UserError(
                f"--outputs {self._folder}: that is the folder of --input; name another"
            )
        names: dict[str, str] = {}
        for file in files:
            other = names.setdefault(_npy_name(file), file)
            if other != file:
                raise UserError(
                    f"--outputs: {other} and {file} would both become {_npy_name(file)}; rename one"
                )
        try:
            os.makedirs(self._folder, exist_ok=True)
            if not os.access(self._folder, os.W_OK | os.X_OK):
                raise PermissionError
        except OSError as error:
            raise UserError(
                f"--outputs {self._folder}: cannot be written; choose a folder that takes it"
            ) from error

    def add(self, name: str, values: np.ndarray) -> None:
        """Write one sample's output."""
        if not self._folder:
            return
        path = os.path.join(self._folder, _npy_name(name))
        partial = f"{path}.partial"
        try:
            try:
                with open(partial, "wb") as file:
                    np.save(file, values)
                os.replace(partial, path)
            finally:
                if os.path.exists(partial):
                    os.remove(partial)
        except OSError as error:
            raise UserError(
                f"--outputs: cannot write {path}; choose a folder that takes it"
            ) from error


def _npy_name(name: str) -> str:
    return name if os.path.splitext(name)[1] == ".npy" else f"{name}.npy"


def _is_same(one: str, other: str) -> bool:
    return os.path.exists(one) and os.path.exists(other) and os.path.samefile(one, other)


def _lines(path: str) -> list[str]:
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            lines = file.read().split("\n")
    except OSError as error:
        raise UserError(f"--labels {path}: cannot be read") from error
    return lines if lines[-1] else lines[:-1]
