"""Which query meets which key and value: the layouts of grouped attention; no MindSpore.

h heads share #Q query projections and #KV key/value projections (arXiv:2311.03426, table 1). A
layout is two index vectors: head n attends with query `q_index[n]` to key and value `kv_index[n]`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ms_eff.errors import ConfigError

__all__ = ["KINDS", "Groups", "HeadLayout", "check_groups", "head_layout"]

# number of groups each kind needs: gqa and gkva one, gqkva those of Q and those of KV
KINDS = {"mha": 0, "mqa": 0, "gqa": 1, "mkva": 0, "gkva": 1, "gqkva": 2}

Groups = int | tuple[int, int] | None


@dataclass(frozen=True)
class HeadLayout:
    """Two index vectors, one entry a head.

    Attributes:
        q_index: which query projection each head takes, from 0 without gaps.
        kv_index: which key/value projection, likewise.

    Raises:
        ConfigError: vectors of other lengths or with gaps, a pair that occurs twice, or an order
            that sharing by broadcast cannot give.

    >>> layout = HeadLayout((0, 0, 1, 1), (0, 1, 0, 1))
    >>> layout.heads, layout.queries, layout.keys
    (4, 2, 2)
    """

    q_index: tuple[int, ...]
    kv_index: tuple[int, ...]

    def __post_init__(self) -> None:
        heads = len(self.q_index)
        if heads < 1 or len(self.kv_index) != heads:
            raise ConfigError(
                f"layout: index vectors of {heads} and {len(self.kv_index)} heads; give both one "
                "entry a head"
            )
        if len(set(zip(self.q_index, self.kv_index, strict=True))) != heads:
            raise ConfigError(f"layout: a pair of {self} occurs twice; two heads would be equal")
        for name, index in (("q_index", self.q_index), ("kv_index", self.kv_index)):
            if min(index) != 0 or not (_outer(index) or _inner(index)):
                raise ConfigError(
                    f"layout: {name} = {index}: expected runs of equal length (0, 0, 1, 1) or "
                    "repeats of 0 .. n - 1 (0, 1, 0, 1)"
                )
        flat, (_, inner) = self.by_key.ravel(), self.query_copies
        if (flat != np.arange(heads) // inner % self.queries).any():
            raise ConfigError(
                f"layout: the queries that meet each key are {self.by_key.tolist()}; number the "
                "queries so that they stand in order there"
            )

    @property
    def heads(self) -> int:
        """Number of attention heads."""
        return len(self.q_index)

    @property
    def queries(self) -> int:
        """Number of distinct query projections, #Q."""
        return max(self.q_index) + 1

    @property
    def keys(self) -> int:
        """Number of distinct key projections, and of value projections, #KV."""
        return max(self.kv_index) + 1

    @property
    def projections(self) -> int:
        """Number of projections in the qkv layer, #Q + 2 #KV."""
        return self.queries + 2 * self.keys

    @property
    def interleaved(self) -> bool:
        """Tell whether neighbouring heads have different keys although keys are shared."""
        return not _outer(self.kv_index)

    @property
    def by_key(self) -> np.ndarray:
        """Queries that meet each key, ``(#KV, h / #KV)``, in the order of the heads."""
        order = np.argsort(self.kv_index, kind="stable")
        return np.asarray(self.q_index)[order].reshape(self.keys, -1)

    @property
    def query_copies(self) -> tuple[int, int]:
        """How often the queries stand in `by_key`: as a whole, and each beside itself."""
        flat = self.by_key.ravel()
        inner = int(np.argmax(np.append(flat, -1) != flat[0]))  # length of the first run
        return len(flat) // (self.queries * inner), inner

    @property
    def repeats(self) -> tuple[tuple[int, int], tuple[int, int]]:
        """How often queries, and keys, stand to give one a head: as a whole, each beside itself.

        >>> head_layout("gqkva", 6, (2, 3)).repeats
        ((1, 3), (2, 1))
        """
        return _repeats(self.q_index), _repeats(self.kv_index)


def head_layout(kind: str, heads: int, groups: Groups = None) -> HeadLayout:
    """Return the layout of a kind of attention (arXiv:2311.03426, table 1).

    Args:
        kind: one of `KINDS`.
        heads: number of attention heads, h.
        groups: of `gqa` the number of keys, of `gkva` that of queries, a divisor of h; of `gqkva`
            those of queries and of keys, whose product is h; otherwise None.

    Raises:
        ConfigError: unknown kind, or groups that do not fit.

    >>> head_layout("gqkva", 6, (2, 3))
    HeadLayout(q_index=(0, 0, 0, 1, 1, 1), kv_index=(0, 1, 2, 0, 1, 2))
    >>> head_layout("gqa", 6, 2).kv_index
    (0, 0, 0, 1, 1, 1)
    """
    check_groups(kind, groups)
    n = np.arange(heads)
    if isinstance(groups, tuple):
        if groups[0] * groups[1] != heads:
            raise ConfigError(
                f"groups: {groups[0]} x {groups[1]} is not the number of heads, {heads}; every "
                "query meets every key once"
            )
        return _layout(n // groups[1], n % groups[1])
    shared = 1 if groups is None else groups
    if heads % shared:
        raise ConfigError(f"groups: {shared} does not divide the {heads} heads; choose a divisor")
    few = n * shared // heads
    if kind in ("gqa", "mqa"):
        return _layout(n, few)
    return _layout(n if kind == "mha" else few, n)


def check_groups(kind: str, groups: Groups) -> None:
    """Raise ConfigError unless that kind takes as many group numbers as are given."""
    if kind not in KINDS:
        raise ConfigError(f"kind: unknown '{kind}'; known: {', '.join(KINDS)}")
    given = 0 if groups is None else len(groups) if isinstance(groups, tuple) else 1
    if given != KINDS[kind]:
        wanted = ("none", "one number", "a pair of numbers: of queries, of keys")[KINDS[kind]]
        raise ConfigError(f"groups: {groups!r}: {kind} takes {wanted}")
    if groups is not None and np.min(groups) < 1:
        raise ConfigError(f"groups: expected numbers from 1, got {groups}")


def _layout(q_index: np.ndarray, kv_index: np.ndarray) -> HeadLayout:
    return HeadLayout(tuple(q_index.tolist()), tuple(kv_index.tolist()))


def _repeats(index: tuple[int, ...]) -> tuple[int, int]:
    times = len(index) // (max(index) + 1)
    return (1, times) if _outer(index) else (times, 1)


def _outer(index: tuple[int, ...]) -> bool:
    """Tell whether the index runs 0, 0, .., 1, 1, .. in runs of one length."""
    count = max(index) + 1
    return len(index) % count == 0 and all(
        value == n * count // len(index) for n, value in enumerate(index)
    )


def _inner(index: tuple[int, ...]) -> bool:
    """Tell whether the index runs 0, 1, .., 0, 1, .. in whole repeats."""
    count = max(index) + 1
    return len(index) % count == 0 and all(value == n % count for n, value in enumerate(index))
