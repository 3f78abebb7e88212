"""Gradient centralization (arXiv:2004.01461), equation 1."""

from __future__ import annotations

from mindspore import Parameter, Tensor

__all__ = ["centralize_all", "centralize_convolutions"]


def centralize_all(weight: Parameter, grad: Tensor) -> Tensor:
    """Return the gradient less its mean over all axes but the first, the output channel's.

    Weights of one axis (biases, norms) keep theirs. Also a transform of the training step: it acts
    after the L2 decay and before the momentum.

    Args:
        weight: (O, ...).
        grad: of the same shape.

    >>> import numpy as np
    >>> weight = Parameter(Tensor(np.zeros((1, 2), np.float32)))
    >>> print(centralize_all(weight, Tensor(np.array([[1.0, 3.0]], np.float32))))
    [[-1.  1.]]
    """
    if weight.ndim < 2:
        return grad
    return grad - grad.mean(tuple(range(1, weight.ndim)), True)


def centralize_convolutions(weight: Parameter, grad: Tensor) -> Tensor:
    """Return the same for weights of three axes or more; the others keep their gradient."""
    if weight.ndim < 3:
        return grad
    return grad - grad.mean(tuple(range(1, weight.ndim)), True)
