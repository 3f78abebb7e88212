"""Small networks with one of everything, and how to run them."""

from __future__ import annotations

import numpy as np
from mindspore import Parameter, Tensor, nn, ops


class Everything(nn.Cell):
    """Every kind of layer and container; input (N, 8, 12, 12), output (N, 10)."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(8, 16, 3, 2, pad_mode="pad", padding=1, has_bias=True)
        self.blocks = nn.SequentialCell(
            nn.Conv2d(16, 24, 1, has_bias=False), nn.BatchNorm2d(24), nn.ReLU()
        )
        self.downsample = nn.SequentialCell([nn.Conv2d(24, 24, 1)])
        self.branches = nn.CellList(
            [nn.Conv2d(24, 24, 3, pad_mode="same"), nn.Conv2d(24, 24, 3, group=4)]
        )
        self.tied = nn.Dense(24, 24)
        self.again = self.tied
        self.heads = (self.branches[0],)
        self.fc = nn.Dense(24, 10, activation="tanh")

    def construct(self, x: Tensor) -> Tensor:
        x = self.downsample(self.blocks(self.conv1(x)))
        for branch in self.branches:
            x = branch(x)
        x = x.mean((2, 3))
        return self.fc(self.again(self.tied(x)))


class Tied(nn.Cell):
    """An embedding whose table is also the output layer's weight."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(30, 16)
        self.mix = nn.Dense(16, 16)
        self.head = nn.Dense(16, 30, has_bias=False)
        self.head.weight = self.words.embedding_table

    def construct(self, ids: Tensor) -> Tensor:
        return self.head(self.mix(self.words(ids)))


class Bare(nn.Cell):
    """Has a parameter, but no layer."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = Parameter(Tensor(np.ones(3, np.float32)))
        self.relu = ops.ReLU()

    def construct(self, x: Tensor) -> Tensor:
        return self.relu(x * self.scale)


def randomise(network: nn.Cell, seed: int = 0) -> nn.Cell:
    """Draw every parameter anew, so that layers are of full rank and biases are not zero."""
    rng = np.random.default_rng(seed)
    for parameter in network.get_parameters():
        scale = 1.0 / np.sqrt(max(np.prod(parameter.shape[1:]), 1))
        value = rng.standard_normal(parameter.shape) * scale
        if "variance" in parameter.name:
            value = np.abs(value) + 0.5
        parameter.set_data(Tensor(value.astype(np.float32), parameter.dtype))
    return network


def images(*shape: int, seed: int = 1) -> Tensor:
    return Tensor(np.random.default_rng(seed).standard_normal(shape).astype(np.float32))


def run(network: nn.Cell, x: Tensor) -> np.ndarray:
    return network(x).asnumpy()


def weights(network: nn.Cell) -> dict[str, np.ndarray]:
    return {p.name: p.asnumpy().copy() for p in network.get_parameters()}
