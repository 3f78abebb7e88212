"""Token merging (ToMe, arXiv:2210.09461) in numbers: settings and work; imports no MindSpore."""

from __future__ import annotations

from itertools import pairwise

from pydantic import Field

from ms_eff.methods.skipvit.core import block_macs
from ms_eff.section import Section

__all__ = ["ToMeSettings", "equal_work", "merged_macs", "token_counts"]


class ToMeSettings(Section):
    """Merge tokens in every block of a ViT, in training and in inference.

    Attributes:
        merged: tokens that go in each block, r; fewer where half of the patches left are no more.
    """

    merged: int = Field(ge=1)


def token_counts(tokens: int, depth: int, merged: int) -> list[int]:
    """Return how many tokens come into each block, and how many leave the last one.

    Args:
        tokens: of an image, the class token included.
        depth: number of blocks.
        merged: tokens that go in each block; at most half of the patches can.

    >>> token_counts(17, 4, 6)
    [17, 11, 6, 4, 3]
    """
    counts = [tokens]
    for _ in range(depth):
        counts.append(counts[-1] - min(merged, (counts[-1] - 1) // 2))
    return counts


def merged_macs(tokens: int, depth: int, merged: int, dim: int) -> int:
    """Return the multiply-accumulates of all blocks; tokens merge between attention and MLP.

    >>> merged_macs(65, 6, 0, 96) == 6 * block_macs(65, 96)
    True
    """
    saved_a_token = 8 * dim**2  # the MLP
    return sum(
        block_macs(before, dim) - saved_a_token * (before - after)
        for before, after in pairwise(token_counts(tokens, depth, merged))
    )


def equal_work(patches: int, depth: int, dim: int, reduced: int, drop: float) -> int:
    """Return the tokens to merge in each block so that the blocks' work is closest to SkipViT's.

    Args:
        patches: of an image; there is a class token besides.
        depth: number of blocks.
        dim: channels of a token.
        reduced: blocks that SkipViT's dropped patches skip.
        drop: share of the patches that skip them.

    >>> equal_work(64, 6, 96, 3, 0.55), equal_work(196, 12, 384, 5, 0.55)
    (6, 7)
    """
    tokens = patches + 1
    few = tokens - round(drop * patches)
    wanted = (depth - reduced) * block_macs(tokens, dim) + reduced * block_macs(few, dim)
    return min(
        range(1, max(patches // 2, 1) + 1),
        key=lambda merged: abs(merged_macs(tokens, depth, merged, dim) - wanted),
    )
