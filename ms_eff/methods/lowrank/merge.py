"""The maths of layer merging: Tucker ends multiplied into the neighbours (arXiv:2407.20266).

NumPy only; weights are (S, C, kh, kw), MindSpore's layout. The paper gives a figure and a
paragraph; what to do with normalisation and ReLU at the joints is ours.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ms_eff.methods.lowrank.core import matmul
from ms_eff.methods.lowrank.tucker import block_diagonal, diagonal_blocks, tucker2, tucker_error

__all__ = ["Affine", "MergedWeights", "folded_norm", "merge_weights"]

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Affine:
    """`x -> scale x + shift`, a channel at a time: what a normalisation is in inference."""

    scale: Array
    shift: Array


@dataclass(frozen=True)
class MergedWeights:
    """Kernels and biases of a merged block; the core has no bias.

    Attributes:
        conv1: (r1, C, 1, 1).
        bias1: (r1,).
        core: (r2, r1 / branches, kh, kw).
        conv3: (S, r2, 1, 1).
        bias3: (S,).
        error: relative Frobenius error of the Tucker form of the k x k convolution.
    """

    conv1: Array
    bias1: Array
    core: Array
    conv3: Array
    bias3: Array
    error: float


def folded_norm(
    gamma: Array, beta: Array, mean: Array, variance: Array, eps: float, bias: Array | None = None
) -> Affine:
    """Return a batch normalisation (and the bias of the layer before it) as one affine map.

    >>> one = np.ones(1)
    >>> map = folded_norm(2 * one, one, 3 * one, 4 * one, 0.0)
    >>> map.scale.item(), map.shift.item()
    (1.0, -2.0)
    """
    scale = gamma / np.sqrt(variance + eps)
    return Affine(scale, beta + scale * ((0.0 if bias is None else bias) - mean))


def merge_weights(
    kernels: tuple[Array, Array, Array],
    norms: tuple[Affine, Affine],
    ranks: tuple[int, int],
    branches: int = 1,
    bias3: Array | None = None,
) -> MergedWeights:
    """Return a bottleneck's three convolutions with the 3x3's Tucker ends merged into the others.

    With matrices as (outputs, inputs) and the normalisations folded in:
    `conv1' = U^T diag(s1) W1`, core, `conv3' = W3 diag(s2) V`. Without ReLU this is the chain
    conv1, norm1, U^T, core, V, norm2, conv3 exactly. A padded border stays exact too: zeros after
    norm1 are zeros after `U^T`.

    Args:
        kernels: of conv1 (w, C, 1, 1), conv2 (w', w, kh, kw), conv3 (S, w', 1, 1).
        norms: what follows conv1 and conv2.
        ranks: r1, r2 of conv2's input and output channels.
        branches: groups of the core, which then keeps its diagonal blocks only.
        bias3: of conv3, if it has one.
    """
    inner, kernel, outer = (np.asarray(k, dtype=np.float64) for k in kernels)
    first, core, last = tucker2(kernel, ranks)
    core = diagonal_blocks(core, branches)
    error = tucker_error(kernel, first, block_diagonal(core, branches), last)
    U, V = first[:, :, 0, 0], last[:, :, 0, 0]
    before, after = norms
    inward = matmul(U * before.scale, inner[:, :, 0, 0])
    outer = outer[:, :, 0, 0]
    outward = matmul(outer * after.scale, V)
    return MergedWeights(
        conv1=inward[:, :, None, None],
        bias1=U @ before.shift,
        core=core,
        conv3=outward[:, :, None, None],
        bias3=outer @ after.shift + (0.0 if bias3 is None else bias3),
        error=error,
    )
