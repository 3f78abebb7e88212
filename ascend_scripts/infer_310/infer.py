#!/usr/bin/env python3
"""infer_310 in Python, for hosts that have `mindspore_lite` (or `mindspore`) instead of a compiler.

Flags, CSV and exit codes are those of the C++ program: 0, files skipped or not; 2 for a mistake in
flags, folder or model, or a bad file with `--on-bad-file fail`; 130 or 143 if Ctrl-C or SIGTERM
stops it; 1 if the runtime fails. It needs NumPy, Pillow for pictures, and Python 3.7 or later:
boards' Python is often an old one.

    python infer.py --model net.mindir --input FOLDER --output predictions.csv --device ascend
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time

import numpy as np
from infer_flags import help_text, read_flags
from infer_outputs import Csv, Outputs
from infer_runtimes import RUNTIMES, Runtime
from infer_samples import BadFile, UserError, check_normalize, files_of, read_sample


class Stopped(Exception):  # noqa: N818 (not an error: the run was asked to stop)
    """Ctrl-C or SIGTERM; `code` is the exit code: 130 or 143."""

    def __init__(self, number: int) -> None:
        names = {signal.SIGINT: "Ctrl-C", signal.SIGTERM: "SIGTERM"}
        super().__init__(f"stopped by {names[number]}")
        self.code = 128 + number


class StopFlag:
    """The first signal sets a flag that is read between files, the second ends the program.

    An exception out of the middle of MindSpore would abort the interpreter.
    """

    def __init__(self) -> None:
        self._came = 0
        numbers = (signal.SIGINT, signal.SIGTERM)
        self._before = {number: signal.signal(number, self._note) for number in numbers}

    def _note(self, number: int, frame: object) -> None:
        self._came = number
        signal.signal(number, signal.SIG_DFL)

    def check(self) -> None:
        """Raise Stopped if a signal has come."""
        if self._came:
            raise Stopped(self._came)

    def restore(self) -> None:
        """Put back the handlers that were there."""
        for number, handler in self._before.items():
            signal.signal(number, handler)


class Run:
    """A folder's samples through a network.

    Args:
        options: of the command line.
        flag: says when to stop.
    """

    def __init__(self, options: argparse.Namespace, flag: StopFlag) -> None:
        # what can be wrong is looked at before the network is built, which takes longest
        self.options, self.flag = options, flag
        self.files, self.others = files_of(options.input)
        self.predicted, self.skipped = 0, 0
        self.seconds: list[float] = []
        self._warm = False
        self._outputs = Outputs(options, self.files)
        self._csv = Csv(options)

    def all(self) -> None:
        """Predict everything; write the CSV and the whole outputs, print what it took."""
        try:
            runtime = RUNTIMES[self.options.runtime](self.options)
            check_normalize(self.options.mean, self.options.std, runtime.shape[1:], runtime.dtype)
            self._predict(runtime)
            if not self.predicted:
                raise UserError(f"--input {self.options.input}: none of its files can be used")
            self._csv.finish()
        finally:
            self._csv.close()
        self._report(runtime)

    def _predict(self, runtime: Runtime) -> None:
        batch: list[tuple[str, np.ndarray]] = []
        for name in self.files:
            self.flag.check()
            try:
                path = os.path.join(self.options.input, name)
                mean, std = self.options.mean, self.options.std
                sample = read_sample(path, runtime.shape[1:], runtime.dtype, mean, std)
                batch.append((name, sample))
            except BadFile as error:
                if self.options.on_bad_file == "fail":
                    remedy = "mend it, or use --on-bad-file skip"
                    raise UserError(f"{name}: {error}; {remedy}") from error
                print(f"infer.py: skipped {name}: {error}", file=sys.stderr)
                self.skipped += 1
            if len(batch) == runtime.shape[0]:
                self._flush(runtime, batch)
                batch = []
        if batch:
            self._flush(runtime, batch)

    def _flush(self, runtime: Runtime, batch: list[tuple[str, np.ndarray]]) -> None:
        size = runtime.shape[0]
        arrays = [array for _, array in batch]
        arrays += [arrays[0]] * (size - len(arrays))  # a fixed graph takes no smaller batch
        given = np.ascontiguousarray(np.stack(arrays))
        for _ in range(0 if self._warm else self.options.warmup):
            runtime.predict(given)
        self._warm = True
        start = time.perf_counter()
        output = runtime.predict(given)
        self.seconds.append(time.perf_counter() - start)
        if output.ndim == 0 or output.size == 0 or output.shape[0] % size:
            model = self.options.model
            raise UserError(f"--model {model}: output {output.shape} is not one of {size} samples")
        rows = output.shape[0] // size  # more than 1: the batch axis and the next are one
        shape = (size, *([rows] if rows > 1 else []), *output.shape[1:])
        for (name, _), values in zip(batch, output.reshape(shape)):  # noqa: B905 (Python 3.10)
            values = np.asarray(values, np.float32)
            self._csv.add(name, values.reshape(-1, values.shape[-1] if values.ndim else 1)[-1])
            self._outputs.add(name, values)
            self.predicted += 1

    def _report(self, runtime: Runtime) -> None:
        p50, p90, p99 = 1e3 * np.percentile(self.seconds, (50, 90, 99))
        rate = self.predicted / sum(self.seconds)
        print(
            f"files: {len(self.files)}, predicted: {self.predicted}, skipped: {self.skipped}, "
            f"neither .npy nor pictures: {self.others}\n"
            f"latency of a batch of {runtime.shape[0]}, ms: p50 {p50:.4g}, p90 {p90:.4g}, "
            f"p99 {p99:.4g} ({len(self.seconds)} calls)\n"
            f"throughput: {rate:.4g} samples/s, without reading files",
            file=sys.stderr,
        )


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    flag = StopFlag()
    try:
        options = read_flags(sys.argv[1:] if arguments is None else arguments)
        if options.help:
            usage = "usage: infer.py --model FILE --input FOLDER [flags]"
            print(f"{usage}\n\n{__doc__}\n{help_text()}", end="")
            return 0
        if not options.model or not options.input:
            raise UserError("--model and --input are needed; see --help")
        Run(options, flag).all()
    except UserError as error:
        return _failed(error, 2)
    except Stopped as stop:
        return _failed(stop, stop.code)
    except Exception as error:  # each runtime raises its own
        return _failed(error, 1)
    finally:
        flag.restore()
    return 0


def _failed(error: Exception, code: int) -> int:
    print(f"infer.py: {' '.join(str(error).split())[:500]}", file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
