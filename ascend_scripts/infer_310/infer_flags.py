"""The command line of infer.py: named flags; `options.cpp` refuses the same, in the same words."""

from __future__ import annotations

import argparse
import math
import re
from collections.abc import Callable
from typing import Any, NamedTuple

from infer_samples import UserError

__all__ = ["FLAGS", "Flag", "help_text", "read_flags"]

_MOST = 1000000
_DECIMAL = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")


class Flag(NamedTuple):
    """One flag.

    Attributes:
        value: what --help calls its value; a switch has none.
        help: its line of --help.
        read: text -> value; raises UserError.
        default: the value where it is not given.
    """

    value: str
    help: str
    read: Callable[[str], Any] = str
    default: Any = ""


def _wrong(text: str, wanted: str) -> UserError:
    return UserError(f"'{text}', expected {wanted}")


def _whole(least: int) -> Callable[[str], int]:
    def read(text: str) -> int:
        value = int(text) if re.fullmatch("[0-9]{1,7}", text) else -1
        if not least <= value <= _MOST:
            raise _wrong(text, f"a whole number from {least} to {_MOST}")
        return value

    return read


def _numbers(text: str) -> list[float]:
    parts = text.split(",")
    values = [float(part) if _DECIMAL.fullmatch(part) else math.nan for part in parts]
    if not all(map(math.isfinite, values)):
        raise _wrong(text, "numbers such as 0.485,0.456,0.406")
    return values


def _scales(text: str) -> list[float]:
    values = _numbers(text)
    if not min(values) > 0:
        raise _wrong(text, "numbers above 0")
    return values


def _one_of(*known: str) -> Callable[[str], str]:
    def read(text: str) -> str:
        if text not in known:
            raise _wrong(text, " or ".join(known))
        return text

    return read


FLAGS = {
    "--model": Flag("FILE", "converted network, .mindir or .ms"),
    "--input": Flag("FOLDER", "its .npy files (float32, uint8, int32, int64; one sample each) "
                    "and pictures"),
    "--output": Flag("FILE", "predictions as CSV (default: standard output)"),
    "--outputs": Flag("FOLDER", "also every sample's whole first output, as .npy"),
    "--labels": Flag("FILE", "class names, a line each, for the CSV"),
    "--top": Flag("K", "best classes a sample (default 1)", _whole(1), 1),
    "--runtime": Flag("NAME", "lite (default), or mindspore: a MindIR of `ms-eff export`",
                      _one_of("lite", "mindspore"), "lite"),
    "--device": Flag("NAME", "cpu (default) or ascend", _one_of("cpu", "ascend"), "cpu"),
    "--device-id": Flag("N", "which Ascend device (default 0)", _whole(0), 0),
    "--threads": Flag("N", "CPU threads, with --runtime lite (default: the runtime's choice)",
                      _whole(1), 0),
    "--batch": Flag("N", "samples a call, for networks with a free batch axis", _whole(1), 0),
    "--mean": Flag("M[,M,M]", "bytes for a float network: (x / 255 - mean) / std (default 0)",
                   _numbers, [0.0]),
    "--std": Flag("S[,S,S]", "likewise (default 1)", _scales, [1.0]),
    "--warmup": Flag("N", "calls before latency is measured (default 1)", _whole(0), 1),
    "--on-bad-file": Flag("skip|fail", "leave out files that cannot be used (default), or stop",
                          _one_of("skip", "fail"), "skip"),
    "--help": Flag("", "show this", bool, False),
}  # fmt: skip


def read_flags(words: list[str]) -> argparse.Namespace:
    """Return the value of every flag; both `--flag value` and `--flag=value` are taken.

    Raises:
        UserError: unknown flag, missing or wrong value, --mean and --std of different lengths.
    """
    found = {name: flag.default for name, flag in FLAGS.items()}
    rest = list(words)
    while rest:
        name, equals, value = rest.pop(0).partition("=")
        if name not in FLAGS:
            raise UserError(f"'{name}': no such flag; see --help")
        flag = FLAGS[name]
        if not flag.value:
            if equals:
                raise UserError(f"{name}: it takes no value")
            found[name] = True
            continue
        if not equals:
            if not rest or rest[0].startswith("--"):
                raise UserError(f"{name}: a value is missing ({flag.value})")
            value = rest.pop(0)
        if not value:
            raise UserError(f"{name}: an empty value")
        try:
            found[name] = flag.read(value)
        except UserError as error:
            raise UserError(f"{name}: {error}") from error
    means, stds = len(found["--mean"]), len(found["--std"])
    if means != stds and min(means, stds) > 1:
        raise UserError(
            f"--mean and --std: {means} and {stds} numbers; give each one number, or one a channel"
        )
    names = {name[2:].replace("-", "_"): value for name, value in found.items()}
    return argparse.Namespace(**names)


def help_text() -> str:
    """Return the lines of --help about the flags."""
    left = {name: f"  {name} {flag.value}".rstrip() for name, flag in FLAGS.items()}
    return "".join(f"{left[name] + '  ':<26}{flag.help}\n" for name, flag in FLAGS.items())
