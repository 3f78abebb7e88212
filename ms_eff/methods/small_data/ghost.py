"""Ghost batch normalisation: statistics of parts of the batch (arXiv:1705.08741)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from mindspore import Parameter, Tensor, nn, ops

from ms_eff.errors import PlanError
from ms_eff.methods.replace import replaced

__all__ = ["GhostBatchNorm", "apply_ghost_batch_norm", "require_norms"]


class GhostBatchNorm(nn.BatchNorm2d):
    """Batch normalisation over each of several parts of the batch by itself.

    The running statistics are those of the parts, averaged; in inference it is the plain
    normalisation, by which it may be replaced then. Sample i belongs to part i mod `splits`, which
    makes the parts channels of one normalisation rather than a loop.

    Args:
        norm: the normalisation that it stands for; parameters and settings are taken over.
        splits: parts; divide the batch.
    """

    def __init__(self, norm: nn.BatchNorm2d, splits: int) -> None:
        channels = norm.num_features
        kept = 1.0 - norm.momentum  # the cell takes the kept share and holds the replaced one
        super().__init__(channels, eps=norm.eps, momentum=kept)
        self.splits, self.channels, self.kept = splits, channels, kept
        for name in ("gamma", "beta", "moving_mean", "moving_variance"):
            getattr(self, name).set_data(Tensor(getattr(norm, name).asnumpy()))
            getattr(self, name).requires_grad = getattr(norm, name).requires_grad
        self.part_mean, self.part_variance = (
            Parameter(Tensor(np.zeros(splits * channels, np.float32)), name, requires_grad=False)
            for name in ("part_mean", "part_variance")
        )
        # keeps nothing of the past: after a call the parameters hold that batch's statistics
        self.parts_norm = ops.BatchNorm(is_training=True, epsilon=norm.eps, momentum=1.0)
        self.plain_norm = ops.BatchNorm(is_training=False, epsilon=norm.eps)

    def construct(self, x: Tensor) -> Tensor:
        """Map ``(N, C, H, W)`` to the same shape.

        Raises:
            ValueError: in training, N cannot be divided into that many parts.
        """
        if not self.training:
            return self.plain_norm(
                x, self.gamma, self.beta, self.moving_mean, self.moving_variance
            )[0]
        batch, channels, height, width = x.shape
        if batch % self.splits != 0:
            raise ValueError(
                f"ghost_batch_norm.splits: {self.splits} does not divide the batch of {batch}"
            )
        parts = x.reshape(batch // self.splits, self.splits * channels, height, width)
        gamma, beta = ops.tile(self.gamma, (self.splits,)), ops.tile(self.beta, (self.splits,))
        parts = self.parts_norm(parts, gamma, beta, self.part_mean, self.part_variance)[0]
        self._move(self.moving_mean, self.part_mean)
        self._move(self.moving_variance, self.part_variance)
        return parts.reshape(batch, channels, height, width)

    def _move(self, moving: Parameter, parts: Parameter) -> None:
        mean = parts.reshape(self.splits, self.channels).mean(0)
        ops.assign(moving, self.kept * moving + (1.0 - self.kept) * mean)


def apply_ghost_batch_norm(network: nn.Cell, splits: int) -> tuple[nn.Cell, list[str]]:
    """Return a copy of a network whose 2-D batch normalisations look at parts of the batch.

    Args:
        network: any; parameter names stay.
        splits: parts of a batch.

    Returns:
        The new network and the names of the normalisations.

    Raises:
        PlanError: there is no batch normalisation.
    """
    swaps: list[tuple[nn.Cell, nn.Cell]] = []
    names = []
    for name, cell in network.cells_and_names():
        if type(cell) is nn.BatchNorm2d:
            ghost = GhostBatchNorm(cell, splits)
            for leaf, parameter in ghost.parameters_and_names():
                parameter.name = f"{name}.{leaf}" if name else leaf
            swaps.append((cell, ghost.set_train(cell.training)))
            names.append(name)
    if not swaps:
        raise _none_in(network)
    return replaced(network, swaps), names


def require_norms(network: nn.Cell) -> None:
    """Raise PlanError if no method before this one can leave batch normalisations in a network.

    Those of clips count: methods make 2-D ones of them.
    """
    kinds = (nn.BatchNorm2d, nn.BatchNorm3d)
    if not any(isinstance(cell, kinds) for _, cell in network.cells_and_names()):
        raise _none_in(network)


def _none_in(network: nn.Cell) -> PlanError:
    return PlanError(
        f"methods.ghost_batch_norm: {type(network).__name__} has no batch normalisation; "
        "leave it out"
    )


def rebuild(network: nn.Cell, plan: Mapping[str, Any]) -> nn.Cell:
    """Return the network of a plan."""
    return apply_ghost_batch_norm(network, plan["splits"])[0]
