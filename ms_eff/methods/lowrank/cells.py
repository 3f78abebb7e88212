"""The cells that stand in for decomposed layers: plain layers in series, with named factors.

Every factor is an ordinary `nn.Dense`, `nn.Conv2d`, `nn.Embedding` or MindFormers `Linear`, so
that export, parallelism and mixed precision treat them as such. Parameters are called
`<layer>.first.weight`, `<layer>.core.weight`, `<layer>.last.weight`; a bias is `last`'s.
"""

from __future__ import annotations

from typing import ClassVar

from mindspore import Parameter, Tensor, nn

__all__ = [
    "LowRankCell",
    "LowRankConv",
    "LowRankConv1x1",
    "LowRankDense",
    "LowRankEmbedding",
]


class LowRankCell(nn.Cell):
    """A layer in factors, `first` applied first and `last` last.

    Class attributes:
        kind: the kind of layer it stands for, as a plan calls it.
    """

    kind: ClassVar[str] = ""

    def __init__(self, first: nn.Cell, last: nn.Cell) -> None:
        super().__init__()
        self.first = first
        self.last = last

    def construct(self, x: Tensor) -> Tensor:
        """Apply the factors in order."""
        return self.last(self.first(x))

    def factors(self) -> dict[str, Parameter]:
        """Return the factors' weights by name, in the order of the data; biases are not among them.

        A freezing scheme picks its sets here (arXiv:2309.03824).
        """
        return {
            name: cell.embedding_table if isinstance(cell, nn.Embedding) else cell.weight
            for name, cell in self.name_cells().items()
        }


class LowRankDense(LowRankCell):
    """A dense layer of rank R: (.., C) -> (.., R) -> (.., S) (arXiv:2407.20266).

    Args:
        first: dense layer C -> R without bias.
        last: dense layer R -> S, with the bias and the activation of the layer it stands for.
    """

    kind = "dense"


class LowRankConv1x1(LowRankCell):
    """A 1x1 convolution of rank R: (N, C, H, W) -> R channels -> S channels (arXiv:2407.20266).

    Args:
        first: 1x1 convolution C -> R without bias; it carries stride and padding, so that the
            second works on fewer pixels.
        last: 1x1 convolution R -> S with the bias.
    """

    kind = "conv1x1"


class LowRankConv(LowRankCell):
    """A convolution in Tucker-2 form: 1x1 C -> r1, kh x kw r1 -> r2, 1x1 r2 -> S (2407.20266).

    Args:
        first: 1x1 convolution without bias.
        core: carries kernel size, stride, padding and dilation; no bias.
        last: 1x1 convolution with the bias.
    """

    kind = "conv"

    def __init__(self, first: nn.Cell, core: nn.Cell, last: nn.Cell) -> None:
        nn.Cell.__init__(self)
        self.first = first
        self.core = core
        self.last = last

    def construct(self, x: Tensor) -> Tensor:
        """Apply the three convolutions in order."""
        return self.last(self.core(self.first(x)))


class LowRankEmbedding(LowRankCell):
    """An embedding of rank R: ids -> a (V, R) table -> a dense layer to (.., d).

    Args:
        first: embedding V -> R.
        last: dense layer R -> d without bias.
    """

    kind = "embedding"
