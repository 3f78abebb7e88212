"""A parent as a stack of equal blocks, whose statistics are measured block by block."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import mindspore as ms
import numpy as np
from mindspore import Tensor, nn, ops

from ms_eff.methods.lowrank.graph_moments import Stack
from ms_eff.models.gpt2 import GPT2Block
from ms_eff.models.gpt2_shape import GPT2Shape
from ms_eff.models.llama import Block, RMSNorm, rope_tables
from ms_eff.models.llama_shape import LlamaShape
from ms_eff.models.masks import causal_mask

if TYPE_CHECKING:
    from ms_eff.methods.progressive.compressed import Model

__all__ = ["embedded", "stack_of"]


def stack_of(parent: Model, length: int) -> Stack:
    """Return a parent's blocks and head, its weights read as they are needed.

    Args:
        parent: the model on disk.
        length: tokens of a sample.
    """
    shape = parent.shape
    block: nn.Cell
    if isinstance(shape, GPT2Shape):
        block, norm = _PlacedGPT2(shape, length), nn.LayerNorm((shape.dim,), epsilon=1e-5)
        norm.gamma.set_data(Tensor(parent.array("norm.gamma")))
        norm.beta.set_data(Tensor(parent.array("norm.beta")))
        table = "word.weight"
    else:
        block, norm = _PlacedLlama(shape, length), RMSNorm(shape.dim, shape.norm_eps)
        norm.weight.set_data(Tensor(parent.array("model.norm.weight")))
        table = "model.embed_tokens.weight" if shape.tied else "lm_head.weight"
    names = [name for name, _ in block.parameters_and_names()]

    def weights(i: int) -> Mapping[str, np.ndarray]:
        prefix = f"{shape.blocks}.{i}."
        return {name: parent.array(prefix + name.removeprefix("block.")) for name in names}

    return Stack(shape.depth, block, weights, _Head(norm, parent.array(table)))


def embedded(parent: Model, ids: np.ndarray) -> np.ndarray:
    """Return what goes into the first block, (n, N, dim), of token ids (n, N)."""
    if isinstance(parent.shape, GPT2Shape):
        return parent.array("word.weight")[ids] + parent.array("position.weight")[: ids.shape[1]]
    return parent.array("model.embed_tokens.weight")[ids]


class _PlacedLlama(nn.Cell):
    """One block at the positions 0 .. N - 1."""

    def __init__(self, shape: LlamaShape, length: int) -> None:
        super().__init__()
        self.block = Block(shape)
        self.cosines, self.sines = map(Tensor, rope_tables(shape, length))
        self.mask = causal_mask(length)

    def construct(self, x: Tensor) -> Tensor:
        """Map (B, N, dim) to the same."""
        return self.block(x, self.cosines, self.sines, self.mask)


class _PlacedGPT2(nn.Cell):
    """One block under the causal mask; positions are in what it is fed."""

    def __init__(self, shape: GPT2Shape, length: int) -> None:
        super().__init__()
        self.block = GPT2Block(np.random.default_rng(0), shape, None)
        self.mask = causal_mask(length)

    def construct(self, x: Tensor) -> Tensor:
        """Map (B, N, dim) to the same."""
        return self.block(x, self.mask)


class _Head(nn.Cell):
    """Last norm, logits and the summed cross entropy."""

    def __init__(self, norm: nn.Cell, table: np.ndarray) -> None:
        super().__init__()
        self.norm = norm
        self.table = ms.Parameter(Tensor(table), name="table", requires_grad=False)
        self.product = ops.MatMul(transpose_b=True)

    def construct(self, x: Tensor, labels: Tensor) -> Tensor:
        """Return the sum over all positions, so that each one's gradient is its own."""
        x = ops.reshape(self.norm(x), (-1, x.shape[-1]))
        logits = self.product(x, self.table)
        return ops.cross_entropy(logits, ops.reshape(labels, (-1,)), reduction="sum")
