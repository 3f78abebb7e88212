"""Compiled training steps that outlive their process.

MindSpore 2.9 keeps compiled graphs by the order in which a process compiles them and looks at the
start script alone: another graph in that place, or the same one of changed settings, is loaded
and run without a word. So the cache is on for one graph only, the first training step of a process,
in a folder named after all that the graph is made of.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import mindspore as ms
from mindspore import Parameter, Tensor, nn

import ms_eff
from ms_eff.errors import SetupError

__all__ = ["fingerprint", "kept_graph"]

_SCALARS = (bool, int, float, str, type(None))
_used = False


def fingerprint(step: nn.Cell, inputs: Sequence[Tensor], settings: object) -> str:
    """Return a name for the graph that a step compiles to on these inputs.

    It covers the versions, our own code, the settings, and of every cell in the step its class, its
    numbers and words, its constant tensors, and its parameters' shapes, types and whether they
    train (their values are no part of a graph).

    Args:
        step: before its first call.
        inputs: of that call.
        settings: whatever else decides about the graph; its `repr` is taken.
    """
    sha = hashlib.sha256()

    def add(*parts: object) -> None:
        sha.update(repr(parts).encode())

    context = (ms.get_context("device_target"), ms.get_context("mode"))
    add(ms.__version__, ms_eff.__version__, _code(), context, settings)
    add(ms.get_auto_parallel_context("device_num"))
    for tensor in inputs:
        add(tensor.shape, tensor.dtype)
    for name, cell in step.cells_and_names():
        add(name, type(cell).__qualname__, cell.training)
        for key, value in sorted(vars(cell).items()):
            if not key.startswith("_"):
                add(key, *_constants(value))
    for p in step.get_parameters():
        add(p.name, p.shape, p.dtype, p.requires_grad)
    return sha.hexdigest()[:24]


@contextmanager
def kept_graph(
    root: Path | None, step: nn.Cell, inputs: Sequence[Tensor], settings: object
) -> Iterator[None]:
    """Let what the block compiles, a call of `step`, be kept below `root`, or taken from there.

    Arguments as of `fingerprint`. Only the first block of a process does anything: MindSpore stays
    with the first folder.

    Raises:
        SetupError: the folder cannot be made.
    """
    global _used
    if root is None or _used:
        yield
        return
    _used = True
    folder = root / fingerprint(step, inputs, settings)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SetupError(
            f"device.cache = {root}: cannot be written: {error.strerror}; choose another folder"
        ) from error
    ms.set_context(enable_compile_cache=True, compile_cache_path=str(folder))
    try:
        yield
    finally:
        ms.set_context(enable_compile_cache=False)


def _constants(value: object) -> Iterator[object]:
    """Yield what of an attribute ends up in a graph: scalars, and tensors by their content."""
    if isinstance(value, _SCALARS):
        yield value
    elif isinstance(value, Tensor) and not isinstance(value, Parameter):
        yield hashlib.sha256(value.asnumpy().tobytes()).hexdigest()
    elif isinstance(value, tuple | list):
        for item in value:
            yield from _constants(item)


@cache
def _code() -> str:
    sha = hashlib.sha256()
    root = Path(ms_eff.__file__).parent
    for path in sorted(root.rglob("*.py")):
        sha.update(path.relative_to(root).as_posix().encode() + path.read_bytes())
    return sha.hexdigest()
