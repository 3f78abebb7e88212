#!/usr/bin/env python3
"""infer_310 in Python, for hosts that have `mindspore_lite` (or `mindspore`) instead of a compiler.

Flags, CSV and exit codes are those of the C++ program: 0, files skipped or not; 2 for a mistake in
flags, folder or model, or a bad file with `--on-bad-file fail`; 1 if the runtime fails. It needs
NumPy, Pillow for pictures, and Python 3.7 or later: boards' Python is often an old one.

    python infer.py --model net.mindir --input FOLDER --output predictions.csv --device ascend
"""

from __future__ import annotations

import argparse
import csv
import os
import sys
import time

import numpy as np
from infer_runtimes import RUNTIMES, Runtime
from infer_samples import BadFile, UserError, files_of, read_sample


class Run:
    """A folder's samples through a network.

    Args:
        options: of the command line.
        runtime: the network.
    """

    def __init__(self, options: argparse.Namespace, runtime: Runtime) -> None:
        self.options, self.runtime = options, runtime
        self.files, self.others = files_of(options.input)
        self.skipped = 0
        self.seconds: list[float] = []
        self.rows: list[list[object]] = []
        self._labels = _lines(options.labels) if options.labels else None
        self._warm = False

    def all(self) -> None:
        """Predict everything; write the CSV and the whole outputs, print what it took."""
        batch: list[tuple[str, np.ndarray]] = []
        for name in self.files:
            try:
                path = os.path.join(self.options.input, name)
                mean, std = self.options.mean, self.options.std
                shape, dtype = self.runtime.shape[1:], self.runtime.dtype
                batch.append((name, read_sample(path, shape, dtype, mean, std)))
            except BadFile as error:
                if self.options.on_bad_file == "fail":
                    remedy = "mend it, or use --on-bad-file skip"
                    raise UserError(f"{name}: {error}; {remedy}") from error
                print(f"infer.py: skipped {name}: {error}", file=sys.stderr)
                self.skipped += 1
            if len(batch) == self.runtime.shape[0]:
                self._flush(batch)
                batch = []
        if batch:
            self._flush(batch)
        if not self.rows:
            raise UserError(f"--input {self.options.input}: none of its files can be used")
        self._write()
        self._report()

    def _flush(self, batch: list[tuple[str, np.ndarray]]) -> None:
        size = self.runtime.shape[0]
        arrays = [array for _, array in batch]
        arrays += [arrays[0]] * (size - len(arrays))  # a fixed graph takes no smaller batch
        given = np.ascontiguousarray(np.stack(arrays))
        for _ in range(0 if self._warm else self.options.warmup):
            self.runtime.predict(given)
        self._warm = True
        start = time.perf_counter()
        output = self.runtime.predict(given)
        self.seconds.append(time.perf_counter() - start)
        if output.ndim == 0 or output.size == 0 or output.shape[0] != size:
            model = self.options.model
            raise UserError(f"--model {model}: output {output.shape} is not one of {size} samples")
        for (name, _), values in zip(batch, output):  # noqa: B905 (strict= needs Python 3.10)
            self._keep(name, np.asarray(values, np.float32))

    def _keep(self, name: str, values: np.ndarray) -> None:
        scores = values.reshape(-1, values.shape[-1] if values.ndim else 1)[-1]
        if self._labels is not None and len(self._labels) != len(scores):
            names = len(self._labels)
            raise UserError(f"--labels: {names} names, the network has {len(scores)} classes")
        row: list[object] = [name]
        for at in np.argsort(-scores, kind="stable")[: self.options.top]:
            row += [self._labels[at] if self._labels else int(at), f"{scores[at]:.9g}"]
        self.rows.append(row)
        if self.options.outputs:
            os.makedirs(self.options.outputs, exist_ok=True)
            target = name if name.endswith(".npy") else name + ".npy"
            np.save(os.path.join(self.options.outputs, target), values)

    def _write(self) -> None:
        header = ["file"]
        for k in range(1, len(self.rows[0]) // 2 + 1):
            header += [f"class_{k}", f"score_{k}"]
        if not self.options.output:
            csv.writer(sys.stdout, lineterminator="\n").writerows([header, *self.rows])
            return
        partial = self.options.output + ".partial"
        with open(partial, "w", newline="", encoding="utf-8", errors="surrogateescape") as file:
            csv.writer(file, lineterminator="\n").writerows([header, *self.rows])
        os.replace(partial, self.options.output)

    def _report(self) -> None:
        p50, p90, p99 = 1e3 * np.percentile(self.seconds, (50, 90, 99))
        rate = len(self.rows) / sum(self.seconds)
        print(
            f"files: {len(self.files)}, predicted: {len(self.rows)}, skipped: {self.skipped}, "
            f"neither .npy nor pictures: {self.others}\n"
            f"latency of a batch of {self.runtime.shape[0]}, ms: p50 {p50:.4g}, p90 {p90:.4g}, "
            f"p99 {p99:.4g} ({len(self.seconds)} calls)\n"
            f"throughput: {rate:.4g} samples/s, without reading files",
            file=sys.stderr,
        )


def _lines(path: str) -> list[str]:
    try:
        with open(path, encoding="utf-8") as file:
            return file.read().splitlines()
    except OSError as error:
        raise UserError(f"--labels {path}: {error.strerror}") from error


def _numbers(text: str) -> list[float]:
    return [float(part) for part in text.split(",")]


def _scales(text: str) -> list[float]:
    values = _numbers(text)
    if not min(values) > 0:
        raise ValueError(text)
    return values


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__.split("\n\n")[0], allow_abbrev=False, prog="infer.py"
    )
    add = parser.add_argument
    add("--model", required=True, metavar="FILE", help="converted network, .mindir or .ms")
    add("--input", required=True, metavar="FOLDER", help="its .npy files and pictures")
    add("--output", metavar="FILE", help="predictions as CSV (default: standard output)")
    add("--outputs", metavar="FOLDER", help="also every sample's whole first output, as .npy")
    add("--labels", metavar="FILE", help="class names, a line each, for the CSV")
    add("--runtime", choices=sorted(RUNTIMES), default="lite", help="default lite")
    add("--device", choices=("cpu", "ascend"), default="cpu", help="default cpu")
    add("--device-id", type=int, default=0, metavar="N", help="which Ascend device (default 0)")
    add("--threads", type=int, default=0, metavar="N", help="CPU threads, with --runtime lite")
    add("--batch", type=int, default=0, metavar="N", help="for networks with a free batch axis")
    add("--top", type=int, default=1, metavar="K", help="best classes a sample (default 1)")
    add("--warmup", type=int, default=1, metavar="N", help="calls before latency is measured")
    add("--on-bad-file", choices=("skip", "fail"), default="skip", help="default skip")
    add("--mean", type=_numbers, default=[0.0], metavar="M[,M,M]", help="of bytes as 0 to 1")
    add("--std", type=_scales, default=[1.0], metavar="S[,S,S]", help="likewise")
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    options = _parser().parse_args(arguments)
    try:
        ends = {"lite": (".mindir", ".ms"), "mindspore": (".mindir",)}[options.runtime]
        if not options.model.endswith(ends) or not os.path.isfile(options.model):
            raise UserError(
                f"--model {options.model}: expected a file ending in {' or '.join(ends)}"
            )
        files_of(options.input)  # before a network is built in vain
        Run(options, RUNTIMES[options.runtime](options)).all()
    except UserError as error:
        print(f"infer.py: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"infer.py: {error.filename or ''}: {error.strerror or error}", file=sys.stderr)
        return 2
    except Exception as error:  # each runtime raises its own
        print(f"infer.py: {' '.join(str(error).split())[:500]}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
