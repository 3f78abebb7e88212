"""What a training loop is given."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

__all__ = ["Arrays", "Batch", "Given", "Trained"]

Arrays = dict[str, np.ndarray]
Trained = dict[str, Arrays]
"""Arrays by name, by quantity."""


@dataclass(frozen=True)
class Batch:
    """One step's samples.

    Attributes:
        inputs: (B, ...).
        labels: (B,), or (B, T) of language models.
        indices: (B,) numbers of the samples.
        epoch: from 0.
        more: what a method drew for this step.
    """

    inputs: torch.Tensor
    labels: torch.Tensor
    indices: np.ndarray
    epoch: int
    more: dict[str, torch.Tensor]


@dataclass(frozen=True)
class Given:
    """The start of a training and its settings.

    Attributes:
        build: weights by name, and changes of the arguments -> the network, in float64.
        train: settings of the training (see `ms_eff.train.settings`).
        methods: settings of each method.
        batches: of each step.
        tested: inputs and labels of the evaluation, if there was one.
        group: arrays under a prefix: `weights`, `teacher`, ...
        tensor: an array on the device, floats in float64.
    """

    build: Callable[..., nn.Module]
    train: Mapping[str, Any]
    methods: Mapping[str, Mapping[str, Any]]
    batches: list[Batch]
    tested: tuple[torch.Tensor, torch.Tensor] | None
    group: Callable[[str], Arrays]
    tensor: Callable[[np.ndarray], torch.Tensor]

    def network(self) -> nn.Module:
        """Return the network as it was before the first step."""
        return self.build(self.group("weights"))

    @property
    def epochs(self) -> int:
        """How many epochs there are."""
        return int(self.train["epochs"])
