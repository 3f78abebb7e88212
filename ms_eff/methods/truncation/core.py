"""Which blocks of a deep network a shallow one keeps (arXiv:2110.08460); NumPy only.

A rule is a function of the depth n and the number k of blocks that stay. Every rule gives k rising
indices; k = n keeps them all, whatever the rule.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ms_eff.errors import ConfigError

__all__ = ["RULES", "bottom", "chosen_blocks", "pseudo_uniform", "random", "top", "uniform"]

Blocks = tuple[int, ...]

RULES = ("pseudo_uniform", "uniform", "bottom", "top", "random")

# where the paper's upper part begins if not in the middle (it has 6, 12, 13 and 24 for the depths
# 12, 24, 36 and 48 of the four GPT-2)
_UPPER = {36: 13}


def chosen_blocks(
    depth: int, keep: int | None, rule: str | Sequence[int] = "pseudo_uniform", seed: int = 0
) -> Blocks:
    """Return the blocks that stay, rising from 0.

    Args:
        depth: n, blocks of the network.
        keep: k, how many stay; None with a list.
        rule: one of `RULES`, or the blocks themselves.
        seed: of `random`.

    Raises:
        ConfigError: the rule has no answer for these numbers.

    >>> chosen_blocks(12, 6, "pseudo_uniform")
    (0, 2, 4, 7, 9, 11)
    >>> chosen_blocks(12, None, [0, 5, 11])
    (0, 5, 11)
    """
    if not isinstance(rule, str):
        return _listed(depth, keep, tuple(rule))
    if keep is None or not 1 <= keep <= depth:
        raise ConfigError(f"keep: {keep} of {depth} blocks; give a number from 1 to {depth}")
    if keep == depth:
        return tuple(range(depth))
    if rule == "random":
        return random(depth, keep, seed)
    rules = {
        "pseudo_uniform": pseudo_uniform,
        "uniform": uniform,
        "bottom": bottom,
        "top": top,
    }
    if rule not in rules:
        raise ConfigError(f"rule: unknown '{rule}'; known: {', '.join(RULES)}, or a list of blocks")
    return rules[rule](depth, keep)


def pseudo_uniform(depth: int, keep: int) -> Blocks:
    """Return blocks at equal steps n / k from both ends, which meet in the middle.

    The first and the last block stay, and the choice is symmetric.

    Raises:
        ConfigError: k is odd or does not divide n.

    >>> pseudo_uniform(24, 6)
    (0, 4, 8, 15, 19, 23)
    """
    if keep % 2 or depth % keep:
        even = [k for k in range(2, depth + 1, 2) if depth % k == 0]
        known = f"use one of {', '.join(map(str, even))}" if even else "the depth is odd"
        raise ConfigError(
            f"keep: pseudo_uniform takes blocks in pairs at whole steps: {keep} must be even and "
            f"divide the {depth} blocks; {known}, or rule: uniform"
        )
    step, start, end = depth // keep, 0, depth - 1
    found: list[int] = []
    while start <= end:
        found += [start, end]
        start, end = start + step, end - step
    return tuple(sorted(found))


def uniform(depth: int, keep: int) -> Blocks:
    """Return blocks from 0 at the largest whole step, floor((n - 1) / (k - 1)).

    >>> uniform(12, 6)
    (0, 2, 4, 6, 8, 10)
    """
    step = 0 if keep == 1 else (depth - 1) // (keep - 1)
    return tuple(step * place for place in range(keep))


def bottom(depth: int, keep: int) -> Blocks:
    """Return blocks spread over the lower half, floor(linspace(0, top, k)); the paper's 6bh.

    Where more than half stay, over as many as stay (ours).

    >>> bottom(12, 6), bottom(24, 6)
    ((0, 1, 2, 3, 4, 5), (0, 2, 4, 6, 8, 11))
    """
    return _spread(0, max(depth // 2, keep) - 1, keep)


def top(depth: int, keep: int) -> Blocks:
    """Return blocks spread over the upper half, floor(linspace(start, n - 1, k)); the paper's 6th.

    Of 36 blocks the paper takes those from 13 on.

    >>> top(12, 6), top(24, 6)
    ((6, 7, 8, 9, 10, 11), (12, 14, 16, 18, 20, 23))
    """
    return _spread(min(_UPPER.get(depth, depth // 2), depth - keep), depth - 1, keep)


def random(depth: int, keep: int, seed: int) -> Blocks:
    """Return blocks drawn without replacement, sorted.

    >>> len(set(random(12, 6, seed=1)))
    6
    """
    drawn = np.random.default_rng(seed).choice(depth, keep, replace=False)
    return tuple(sorted(int(block) for block in drawn))


def _spread(start: int, end: int, keep: int) -> Blocks:
    # in whole numbers: floor() of a rounded float may be one too low
    between = max(keep - 1, 1)
    return tuple(start + place * (end - start) // between for place in range(keep))


def _listed(depth: int, keep: int | None, blocks: Blocks) -> Blocks:
    if keep is not None and keep != len(blocks):
        raise ConfigError(f"keep: {keep}, but the list names {len(blocks)} blocks; drop keep")
    if not blocks or list(blocks) != sorted(set(blocks)):
        raise ConfigError(f"rule: {list(blocks)}: give different blocks in rising order")
    if blocks[0] < 0 or blocks[-1] >= depth:
        raise ConfigError(f"rule: {list(blocks)}: the network has {depth} blocks, 0 to {depth - 1}")
    return blocks
