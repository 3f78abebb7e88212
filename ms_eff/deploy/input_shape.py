"""`--input-shape` of `convert_om.sh`, compared with the graph before a tool is started.

    python -m ms_eff.deploy.input_shape --model net.onnx --input-shape "input:1,3,224,224"

What does not fit is one line and exit code 2. For ONNX no MindSpore is needed.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from ms_eff.deploy.graphs import TensorInfo, read_inputs
from ms_eff.errors import ConfigError, UserError, nearest

__all__ = ["check_input_shape", "main"]


def check_input_shape(
    text: str, inputs: Sequence[TensorInfo], file: str, *, dynamic_batch: bool = False
) -> None:
    """Raise ConfigError unless the shapes given are those of a graph's inputs.

    Args:
        text: `NAME:N,C,H,W`, several inputs with `;` between.
        inputs: of the graph; a length of -1 is free.
        file: what the message calls the graph.
        dynamic_batch: the first axis of every input is to vary: the graph must leave it free.

    Raises:
        ConfigError: a name that is unknown, missing or given twice, another number of axes, another
            length where the graph's is fixed, a fixed batch axis.

    >>> ids = TensorInfo("ids", (-1, 8), "int32")
    >>> check_input_shape("ids:4,8", [ids], "a.onnx", dynamic_batch=True)
    >>> check_input_shape("ids:4,9", [ids], "a.onnx")
    Traceback (most recent call last):
    ...
    ms_eff.errors.ConfigError: --input-shape: ids:4,9 does not fit a.onnx; it takes ids:-1,8
    """
    known = {tensor.name: tensor for tensor in inputs}
    takes = f"{file}; it takes {';'.join(map(_text, inputs))}"
    given: dict[str, tuple[int, ...]] = {}
    for part in text.split(";"):
        name, _, lengths = part.rpartition(":")
        if name not in known:
            close = nearest(name, known)
            raise ConfigError(f"--input-shape: '{name}'{close} is no input of {takes}")
        if name in given:
            raise ConfigError(f"--input-shape: '{name}' is given twice for {takes}")
        given[name] = tuple(int(length) for length in lengths.split(","))
    for name, tensor in known.items():
        if name not in given:
            raise ConfigError(f"--input-shape: nothing is given for '{name}' of {takes}")
        if not _fits(given[name], tensor.shape, dynamic_batch):
            wrong = _text(TensorInfo(name, given[name], ""))
            raise ConfigError(f"--input-shape: {wrong} does not fit {takes}")
    fixed = [t.name for t in inputs if t.shape and t.shape[0] > 0]
    if dynamic_batch and fixed:
        raise ConfigError(
            f"--dynamic-batch: the batch axis of '{fixed[0]}' is fixed in {takes}; export it with "
            "--dynamic-batch too"
        )


def _fits(given: tuple[int, ...], known: tuple[int, ...] | None, free_batch: bool) -> bool:
    if known is None or known == (-2,):  # the graph itself does not say
        return True
    pairs = list(zip(given, known, strict=False))[int(free_batch) :]
    return len(given) == len(known) and all(n in (-1, length) for length, n in pairs)


def _text(tensor: TensorInfo) -> str:
    if tensor.shape is None:
        return f"{tensor.name} of an unknown shape"
    return f"{tensor.name}:{','.join(map(str, tensor.shape))}"


def main(words: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    parser = argparse.ArgumentParser(prog="ms_eff.deploy.input_shape", allow_abbrev=False)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--input-shape", required=True)
    parser.add_argument("--dynamic-batch", action="store_true")
    options = parser.parse_args(words)
    try:
        inputs = read_inputs(options.model)
        shape, name = options.input_shape, options.model.name
        check_input_shape(shape, inputs, name, dynamic_batch=options.dynamic_batch)
    except UserError as error:
        print(" ".join(str(error).split()), file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
