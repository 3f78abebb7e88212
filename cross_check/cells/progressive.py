"""What the progressive method makes of a Llama, and the parts by which it measures a parent."""

from __future__ import annotations

from typing import Any

import numpy as np
from mindspore import Tensor, nn

from cross_check.cells.language import llama
from cross_check.cells.subject import Subject, draw
from ms_eff.methods.lowrank.graph_moments import Stack
from ms_eff.methods.lowrank.surgery import apply_lowrank
from ms_eff.methods.lowrank.weighted import nested_factors
from ms_eff.methods.progressive.members import assembled, build_member
from ms_eff.methods.progressive.stacks import stack_of
from ms_eff.methods.progressive.truncate import truncated_pair
from ms_eff.models.gpt2 import GPT2
from ms_eff.models.gpt2_shape import GPT2Shape
from ms_eff.models.llama_shape import LlamaShape

__all__ = ["gpt2_block", "head", "llama_block", "member"]


class _Parent:
    """A model in memory, as `stack_of` and `assembled` read one from disk."""

    def __init__(self, shape: LlamaShape | GPT2Shape, network: nn.Cell) -> None:
        self.shape = shape
        self.arrays = {name: p.asnumpy() for name, p in network.parameters_and_names()}

    def array(self, name: str) -> np.ndarray:
        return self.arrays[name]

    def names(self) -> list[str]:
        return list(self.arrays)


def member(ranks: list[int], **shape: Any) -> Subject:
    """Return a Llama whose block matrices were brought to the first rank, then to the second."""
    dense = llama(**shape).cell
    parent = _Parent(LlamaShape(**shape), dense)
    layers = [
        f"model.layers.{i}.{name}" for i in range(shape["depth"]) for name in parent.shape.linears
    ]
    # of the plan; the factors come from the method itself
    _, plan, _ = apply_lowrank(dense, ranks=dict.fromkeys(layers, ranks[1]))
    pairs, kept = {}, {}
    for name in layers:
        kept[f"{name}.weight"] = weight = parent.array(f"{name}.weight")
        wide = nested_factors(weight, ranks[0])
        pairs[name] = truncated_pair(wide.first, wide.last, ranks[1])
    network = build_member(parent.shape, plan, assembled(parent, pairs))
    return Subject(network, {"ranks": {name: [ranks[1]] for name in layers}}, kept)


def llama_block(length: int, **shape: Any) -> Subject:
    """Return a block of a Llama at the first places."""
    return _block(_stack(length, **shape))


def gpt2_block(length: int, **args: Any) -> Subject:
    """Return a block of a GPT-2 at the first places."""
    network = GPT2(**args)
    return _block(stack_of(_Parent(network.shape, network), length))


class _Judged(nn.Cell):
    def __init__(self, head: nn.Cell, labels: list[list[int]]) -> None:
        super().__init__()
        self.head = head
        self.labels = Tensor(np.array(labels, np.int32))

    def construct(self, x: Tensor) -> Tensor:
        return self.head(x, self.labels)


def head(labels: list[list[int]], **shape: Any) -> Subject:
    """Return a Llama's last norm, logits and summed loss."""
    return Subject(_Judged(_stack(len(labels[0]), **shape).head, labels))


def _stack(length: int, **shape: Any) -> Stack:
    return stack_of(_Parent(LlamaShape(**shape), llama(**shape).cell), length)


def _block(stack: Stack) -> Subject:
    draw(stack.block)
    return Subject(stack.block)
