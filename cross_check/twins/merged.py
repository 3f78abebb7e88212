"""Merged bottlenecks in plain torch, and their kernels computed anew (arXiv:2407.20266)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import nn

from cross_check.twins.lowrank import hooi, ungrouped
from cross_check.twins.resnet import plain_resnet

__all__ = ["kernels", "resnet"]

Arrays = Mapping[str, np.ndarray]


def resnet(
    ranks: Mapping[str, int], branches: int = 1, bias: bool = True, **args: Any
) -> nn.Module:
    """Return the plain ResNet with the blocks that `ranks` names merged: narrow, with biases."""
    network = plain_resnet(**args)
    for name, rank in ranks.items():
        block = network.get_submodule(name)
        block.conv1 = nn.Conv2d(block.conv1.in_channels, rank, 1, bias=bias)
        block.bn1 = nn.BatchNorm2d(rank)
        stride = block.conv2.stride
        block.conv2 = nn.Conv2d(rank, rank, 3, stride, padding=1, groups=branches, bias=False)
        block.bn2 = nn.BatchNorm2d(rank)
        block.conv3 = nn.Conv2d(rank, block.conv3.out_channels, 1, bias=bias)
    return network


def kernels(
    dense: Arrays, weights: Arrays, ranks: Mapping[str, int], branches: int = 1, **_: Any
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Return what each block's three kernels compose to, and the same from the dense block.

    The latter is conv3, norm2, the Tucker form of conv2, norm1 and conv1 in one, without ReLU.
    """
    found, expected = {}, {}
    for name, rank in ranks.items():
        one, two, three = (_tensor(weights[f"{name}.conv{i}.weight"]) for i in (1, 2, 3))
        found[name] = _chain(one, ungrouped(two, branches), three)
        one, two, three = (_tensor(dense[f"{name}.conv{i}.weight"]) for i in (1, 2, 3))
        before, after = (_scale(dense, f"{name}.bn{i}") for i in (1, 2))
        middle = hooi(two, rank, rank, branches)
        one, three = one * before[:, None, None, None], three * after[:, None, None]
        expected[name] = _chain(one, middle, three)
    return found, expected


def _chain(one: torch.Tensor, two: torch.Tensor, three: torch.Tensor) -> np.ndarray:
    composed = torch.einsum("sb,bahw,ac->schw", three[:, :, 0, 0], two, one[:, :, 0, 0])
    return composed.numpy()


def _scale(dense: Arrays, name: str) -> torch.Tensor:
    gamma, variance = _tensor(dense[f"{name}.weight"]), _tensor(dense[f"{name}.running_var"])
    return gamma / torch.sqrt(variance + 1e-5)


def _tensor(array: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.array(array, np.float64))
