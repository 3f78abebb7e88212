"""Calibration statistics of a parent: measured once, kept on disk, taken up by later runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import mindspore as ms
import numpy as np
from mindspore import Tensor, nn, ops

from ms_eff.data.language import encode_files, windows
from ms_eff.methods.lowrank.graph_moments import Stack, collect_by_block
from ms_eff.methods.progressive.settings import CalibrationSettings
from ms_eff.methods.progressive.statistics import SavedMoments, StatisticsWriter
from ms_eff.models.llama import Block, RMSNorm, causal_mask, rope_tables
from ms_eff.models.llama_shape import LlamaShape

if TYPE_CHECKING:
    from tokenizers import Tokenizer

    from ms_eff.models.gguf_file import GGUFModel
    from ms_eff.models.parents import FolderModel

__all__ = ["calibrated", "llama_stack"]


def calibrated(
    parent: FolderModel | GGUFModel,
    tokenizer: Tokenizer,
    settings: CalibrationSettings,
    folder: Path,
    tell: Callable[[int, int], None] = lambda done, total: None,
) -> SavedMoments:
    """Return the moments of a Llama's block linears over a text, measured unless a folder has them.

    Memory: one block with its moments, and the embedding; the folder needs, meanwhile, 4 bytes a
    token, channel and block.

    Args:
        parent: the model on disk.
        tokenizer: of the parent.
        settings: which text.
        folder: of the statistics.
        tell: told how many of how many passes through a block are done.

    Raises:
        ConfigError: the folder holds statistics of other text or of another parent.
        DataError: the text is too short.
    """
    made_from: dict[str, Any] = {
        "parent": parent.path.name,
        "files": [file.name for file in settings.files],
        "tokens": settings.tokens,
        "window": settings.window,
    }
    if SavedMoments.held_by(folder):
        saved = SavedMoments(folder)
        saved.check(made_from)
        return saved
    rows = windows(encode_files(tokenizer, settings.files), settings.window, settings.tokens)
    writer = StatisticsWriter(folder, made_from)
    stack = llama_stack(parent, settings.window - 1)
    hidden = parent.array("model.embed_tokens.weight")[rows[:, :-1]]
    passes = iter(range(1, 2 * parent.shape.depth + 1))
    for i, found in collect_by_block(
        stack,
        hidden,
        np.ascontiguousarray(rows[:, 1:]),
        folder / "states.partial",
        lambda: tell(next(passes), 2 * parent.shape.depth),
    ):
        prefix = f"model.layers.{i}."
        writer.add({prefix + name.removeprefix("block."): m for name, m in found.items()})
    return writer.finish()


def llama_stack(parent: FolderModel | GGUFModel, length: int) -> Stack:
    """Return a parent's blocks and head, its weights read as they are needed.

    Args:
        parent: the model on disk.
        length: tokens of a sample.
    """
    shape = parent.shape
    block = _Placed(shape, length)
    names = [name for name, _ in block.parameters_and_names()]

    def weights(i: int) -> Mapping[str, np.ndarray]:
        prefix = f"model.layers.{i}."
        return {name: parent.array(prefix + name.removeprefix("block.")) for name in names}

    table = "model.embed_tokens.weight" if shape.tied else "lm_head.weight"
    head = _Head(shape, parent.array("model.norm.weight"), parent.array(table))
    return Stack(shape.depth, block, weights, head)


class _Placed(nn.Cell):
    """One block at the positions 0 .. N - 1."""

    def __init__(self, shape: LlamaShape, length: int) -> None:
        super().__init__()
        self.block = Block(shape)
        self.cosines, self.sines = map(Tensor, rope_tables(shape, length))
        self.mask = Tensor(causal_mask(length))

    def construct(self, x: Tensor) -> Tensor:
        """Map (B, N, dim) to the same."""
        return self.block(x, self.cosines, self.sines, self.mask)


class _Head(nn.Cell):
    """Last norm, logits and the summed cross entropy."""

    def __init__(self, shape: LlamaShape, norm: np.ndarray, table: np.ndarray) -> None:
        super().__init__()
        self.norm = RMSNorm(shape.dim, shape.norm_eps)
        self.norm.weight.set_data(Tensor(norm))
        self.table = ms.Parameter(Tensor(table), name="table", requires_grad=False)
        self.product = ops.MatMul(transpose_b=True)

    def construct(self, x: Tensor, labels: Tensor) -> Tensor:
        """Return the sum over all positions, so that each one's gradient is its own."""
        x = ops.reshape(self.norm(x), (-1, x.shape[-1]))
        logits = self.product(x, self.table)
        return ops.cross_entropy(logits, ops.reshape(labels, (-1,)), reduction="sum")
