"""What attention must not see, as numbers added to its scores; of static shapes, for graph mode.

Masks may be added to each other: a decoder over padded text takes `causal_mask + key_mask`.
"""

from __future__ import annotations

import mindspore as ms
from mindspore import ops

__all__ = ["HIDDEN", "causal_mask", "key_mask"]

# exp() of it is 0 beside any score, and two of them still have room in float16. Not infinite: a
# row with nothing to attend to must not become NaN.
HIDDEN = -3e4


def causal_mask(tokens: int) -> ms.Tensor:
    """Return ``(1, 1, N, N)``: a token sees itself and what comes before it.

    Args:
        tokens: N, the length of the sequence.

    >>> (causal_mask(2).asnumpy()[0, 0] == HIDDEN).tolist()
    [[False, True], [False, False]]
    """
    place = ops.arange(tokens)
    later = ops.reshape(place, (1, 1, 1, tokens)) > ops.reshape(place, (1, 1, tokens, 1))
    return later.astype(ms.float32) * HIDDEN


def key_mask(keep: ms.Tensor) -> ms.Tensor:
    """Return ``(B, 1, 1, N)``: nobody sees the tokens that are padding.

    Args:
        keep: ``(B, N)``, 1 or True for real tokens, 0 or False for padding.

    >>> (key_mask(ms.Tensor([[1, 0]])).asnumpy()[0, 0] == HIDDEN).tolist()
    [[False, True]]
    """
    keep = ops.reshape(keep, (-1, 1, 1, keep.shape[1]))
    return (1.0 - keep.astype(ms.float32)) * HIDDEN
