"""What is documented of an operator: MindSpore's platforms, and Huawei's lists for the 310."""

from __future__ import annotations

import importlib
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from ms_eff.errors import ConfigError, nearest

__all__ = [
    "TARGETS",
    "Support",
    "check_target",
    "opset_range",
    "platforms",
    "source_titles",
    "support",
    "wrong_in_lite",
]

TARGETS = ("ascend310", "ascend310p")

_TABLE = Path(__file__).with_name("ascend310.yaml")
_MODULES = (
    "mindspore.ops.auto_generate",
    "mindspore.ops.operations",
    "mindspore.ops.operations._inner_ops",
    "mindspore.ops.operations.nn_ops",
    "mindspore.ops.operations.array_ops",
    "mindspore.ops.operations.math_ops",
)
_PLATFORMS = re.compile(r"Supported Platforms:\s*\n\s*((?:``\w+``[ ,]*)+)")
_ELSEWHERE = re.compile(r":(?:func|class):`~?(mindspore\.[\w.]+)`")


@dataclass(frozen=True)
class Support:
    """What a page says of an operator on a target.

    Attributes:
        state: `listed`, `left out` (the page is complete, or names it without this target), or
            `unknown` (no page names it).
        source: the page's key in `ascend310.yaml`; empty if unknown.
    """

    state: str
    source: str = ""


def support(op: str, kind: str, target: str) -> Support:
    """Return what is documented of an operator.

    ONNX lists are complete: what they leave out is not supported. MindSpore Lite's table is one of
    its own operators, so that a primitive which it does not name is unknown.

    Args:
        op: MindSpore primitive or ONNX operator.
        kind: `mindir` or `onnx`.
        target: one of `TARGETS`.

    >>> support("Conv", "onnx", "ascend310"), support("Einsum", "onnx", "ascend310").state
    (Support(state='listed', source='cann-5.0.4'), 'left out')
    >>> support("Conv3D", "mindir", "ascend310p")
    Support(state='unknown', source='')
    """
    check_target(target)
    table = _table()
    if kind == "onnx":
        source = _onnx_source(target)
        return Support("listed" if source in table["onnx"].get(op, ()) else "left out", source)
    row = table["mindir"].get(op)
    if row is None or target not in table["sources"][row["source"]]["for"]:
        return Support("unknown")
    return Support("listed" if row["ascend"] else "left out", row["source"])


def opset_range(target: str) -> tuple[int, int]:
    """Return the first and last ONNX opset that the target's page names.

    >>> opset_range("ascend310")
    (9, 13)
    """
    check_target(target)
    first, last = _table()["sources"][_onnx_source(target)]["opset"]
    return first, last


def wrong_in_lite(op: str) -> str | None:
    """Return the remedy if MindSpore Lite 2.0.0 was seen to compute an ONNX operator wrongly.

    >>> wrong_in_lite("ReduceSumSquare")
    'export again: ms_eff.export writes it as a product and a sum'
    """
    row = _table()["wrong_in_lite"].get(op)
    return row["remedy"] if row else None


def source_titles() -> dict[str, str]:
    """Return key -> title and address of every page."""
    found = _table()["sources"].items()
    return {key: f"{entry['title']}: {entry['url']}" for key, entry in found}


@cache
def platforms(op: str) -> tuple[str, ...]:
    """Return the platforms that MindSpore's own documentation names for a primitive, or ().

    Read from the installed MindSpore: the primitive's docstring, or that of the function which it
    refers to.

    >>> "Ascend" in platforms("Conv2D"), platforms("NoSuchThing")
    (True, ())
    """
    for module in _MODULES:
        found = getattr(importlib.import_module(module), op, None)
        if found is not None:
            return _platforms_of(found.__doc__ or "", follow=True)
    return ()


def check_target(target: str) -> None:
    """Raise ConfigError, with the nearest name, unless there is such a target."""
    if target not in TARGETS:
        raise ConfigError(
            f"--target: '{target}'{nearest(target, TARGETS)}; known: {', '.join(TARGETS)}"
        )


def _platforms_of(text: str, follow: bool) -> tuple[str, ...]:
    named = _PLATFORMS.search(text)
    if named:
        return tuple(re.findall(r"``(\w+)``", named.group(1)))
    for name in _ELSEWHERE.findall(text) if follow else ():
        found = _resolved(name)
        inner = _platforms_of(getattr(found, "__doc__", None) or "", follow=False)
        if inner:
            return inner
    return ()


def _resolved(name: str) -> Any:
    module, _, last = name.rpartition(".")
    try:
        return getattr(importlib.import_module(module), last, None)
    except ImportError:
        return None


def _onnx_source(target: str) -> str:
    pages = _table()["sources"].items()
    return next(key for key, page in pages if target in page["for"] and "opset" in page)


@cache
def _table() -> dict[str, Any]:
    table: dict[str, Any] = yaml.safe_load(_TABLE.read_text(encoding="utf-8"))
    return table
