"""MindSpore's two exporters, with their habits kept in here: suffixes, modes, file rights."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import mindspore as ms
from mindspore import Tensor, nn

from ms_eff.bench.modes import execution_mode, inference
from ms_eff.deploy.inputs import InputSpec
from ms_eff.deploy.onnx_rewrite import rewrite
from ms_eff.deploy.operators import ExportError, explain
from ms_eff.deploy.substitutes import substituted

__all__ = ["FORMATS", "write"]

FORMATS = {"mindir": ".mindir", "onnx": ".onnx"}


class _Whole(nn.Cell):
    """The network in a fresh cell.

    MindSpore's ONNX exporter spoils the compiled graph, so that exporting one cell twice fails; a
    fresh cell also frees the graph afterwards.
    """

    def __init__(self, network: nn.Cell) -> None:
        super().__init__(auto_prefix=False)
        self.network = network

    def construct(self, *inputs: Tensor) -> Any:
        return self.network(*inputs)


def write(
    cell: nn.Cell,
    folder: Path,
    stem: str,
    format: str,
    inputs: Sequence[InputSpec],
    dynamic_batch: bool = False,
) -> Path:
    """Write a network in inference mode into a folder; return the file to load.

    A MindIR of more than 1 GB becomes `<stem>_graph.mindir` beside a folder of weights; an ONNX
    of more than 2 GB keeps its weights in further files beside it.

    Raises:
        ExportError: the exporter lacks an operator, or the disk takes no more.
    """
    examples = [spec.example(dynamic_batch) for spec in inputs]
    with (
        inference(cell),
        substituted(cell, format, dynamic_batch),
        execution_mode(ms.GRAPH_MODE),
        _strict(),
        _plain(folder) as plain,
    ):
        target = str(plain / (stem + FORMATS[format]))
        try:
            if format == "onnx":
                # outputs keep the exporter's names: given some, it writes broken graphs for
                # networks that end in a reshape, a slice or a layer norm
                names = [spec.name for spec in inputs]
                ms.onnx.export(_Whole(cell), *examples, file_name=target, input_names=names)
            else:
                ms.export(_Whole(cell), *examples, file_name=target, file_format="MINDIR")
        except OSError:
            raise
        except Exception as error:  # the exporters raise whatever their C++ raised
            raise explain(error, format, type(cell).__name__) from error
    return _written(folder, stem, format)


def _written(folder: Path, stem: str, format: str) -> Path:
    for name in (stem + FORMATS[format], f"{stem}_graph{FORMATS[format]}"):
        if (folder / name).is_file() and (folder / name).stat().st_size > 0:
            for part in folder.rglob("*"):  # the exporter leaves its files read-only
                part.chmod(0o755 if part.is_dir() else 0o644)
            if format == "onnx":
                rewrite(folder / name)
            return folder / name
    raise ExportError(f"{folder.parent}: the exporter wrote nothing there; is the disk full?")


@contextmanager
def _plain(folder: Path) -> Iterator[Path]:
    """Reach a folder by a name without blanks and accents: the exporters refuse others."""
    with tempfile.TemporaryDirectory() as link:
        plain = Path(link) / "folder"
        plain.symlink_to(folder.resolve(), target_is_directory=True)
        yield plain


@contextmanager
def _strict() -> Iterator[None]:
    """Put back the syntax level, which `ms.export` leaves changed when it fails."""
    before = ms.get_context("jit_syntax_level")
    try:
        yield
    finally:
        ms.set_context(jit_syntax_level=before)
