"""Rank search by latency, Algorithm 1 of arXiv:2407.20266; what takes the time is injected.

Latency over rank is a staircase: the hardware works in tiles, and a rank just below a tile's edge
costs as much as the edge itself. The search goes down from a start rank to the best such edge. The
noise floor, held against jumps and against the gain on the original layer, the fast mode, the floor
of 0.7 R and the rule for ties are ours.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any

import numpy as np

__all__ = ["RankChoice", "Timing", "probed_ranks", "rank_floor", "search_rank"]


@dataclass(frozen=True)
class Timing:
    """How long something takes.

    Attributes:
        median_ms: of the repeated runs, in milliseconds.
        spread_ms: their inter-quartile range; 0 for a model, which has no noise.
        runs: how many.
    """

    median_ms: float
    spread_ms: float = 0.0
    runs: int = 1

    @property
    def error_ms(self) -> float:
        """Return about how far the median may be off, in milliseconds: spread / sqrt(runs).

        >>> Timing(5.0, 0.4, 16).error_ms
        0.1
        """
        return self.spread_ms / math.sqrt(self.runs)

    @classmethod
    def of(cls, samples: Sequence[float]) -> Timing:
        """Return median and spread of repeated runs, in milliseconds.

        >>> Timing.of([1.0, 2.0, 3.0])
        Timing(median_ms=2.0, spread_ms=1.0, runs=3)
        """
        q1, median, q3 = np.percentile(samples, [25, 50, 75])
        return cls(float(median), float(q3 - q1), len(samples))


@dataclass(frozen=True)
class RankChoice:
    """What the search decided for one layer.

    Attributes:
        rank: the chosen rank; None keeps the original layer ("ORG" in the paper).
        start: the rank that the search came down from.
        dense: time of the original layer, T.
        curve: (rank, t(rank)), from the start rank down.
        why: the decision in words.
    """

    rank: int | None
    start: int
    dense: Timing
    curve: tuple[tuple[int, Timing], ...]
    why: str

    def to_json(self) -> dict[str, Any]:
        """Return JSON-able values."""
        return {
            "rank": self.rank,
            "start": self.start,
            "dense": asdict(self.dense),
            "curve": [{"rank": rank, **asdict(timing)} for rank, timing in self.curve],
            "why": self.why,
        }


def rank_floor(R: int, share: float = 0.7) -> int:
    """Return the lowest rank looked at, `ceil(share R)`; the share is ours.

    >>> rank_floor(309), rank_floor(10)
    (217, 7)
    """
    return max(math.ceil(share * R - 1e-9), 1)


def probed_ranks(R: int, floor: int, step: int = 1) -> list[int]:
    """Return the ranks to time, from `R` down to `floor`: all, or `R` and the multiples of `step`.

    >>> probed_ranks(38, 27, 8)
    [38, 32]
    """
    return [r for r in range(R, floor - 1, -1) if r == R or r % step == 0]


def search_rank(
    time_of: Callable[[int], Timing | float],
    dense: Timing | float,
    R: int,
    *,
    floor: int | None = None,
    step: int = 1,
    noise: float = 0.02,
) -> RankChoice:
    """Return the rank just below the largest latency cliff, or the original layer (2407.20266).

    A jump counts only if it exceeds the noise: the spreads of both timings together, and at least
    `noise` of the time. Jumps equal within the noise are ties, and the larger rank wins. What the
    decomposed layer gains on the original has to exceed the noise as well: `noise` of the time, and
    the errors of both medians (the paper only asks for t < T). So a layer whose two times are about
    equal stays whole in every search.

    Args:
        time_of: rank -> time of the decomposed layer, in milliseconds.
        dense: time of the original layer.
        R: start rank.
        floor: lowest rank to look at; `rank_floor(R)` if None.
        step: 1 times every rank; else only `R` and the multiples of `step` (the fast mode).
        noise: smallest jump, and smallest gain, that counts, as a share of the time before it.

    Raises:
        ValueError: no rank lies between `floor` and `R`, or `step` is below 1.

    >>> search_rank(lambda r: -(-r // 64), dense=9.0, R=309, floor=242).rank
    256
    """
    floor = rank_floor(R) if floor is None else floor
    if not 1 <= floor <= R or step < 1:
        raise ValueError(f"floor: expected 1 .. R = {R} and step >= 1, got {floor} and {step}")
    curve = [(rank, _timing(time_of(rank))) for rank in probed_ranks(R, floor, step)]
    best, why = _below_largest_cliff(curve, noise)
    timing, whole = dict(curve)[best], _timing(dense)
    taken = f"{timing.median_ms:.4g} ms, the layer itself {whole.median_ms:.4g} ms"
    # medians are surer than single runs, and a real gain is not to be lost in the runs' spread
    least = _least(whole, noise, whole.error_ms + timing.error_ms)
    if whole.median_ms - timing.median_ms <= least:
        slower = timing.median_ms >= whole.median_ms
        why = f"ORG: at rank {best} {taken}{'' if slower else ', a gain within the noise'}"
        return RankChoice(None, R, whole, tuple(curve), why)
    return RankChoice(best, R, whole, tuple(curve), f"rank {best}: {why}; {taken}")


def _below_largest_cliff(curve: Sequence[tuple[int, Timing]], noise: float) -> tuple[int, str]:
    """Return (rank, why): the upper end of the curve if nothing in it stands out of the noise."""
    jumps = []
    for (_, above), (rank, below) in pairwise(curve):
        least = _least(above, noise, above.spread_ms + below.spread_ms)
        jumps.append((above.median_ms - below.median_ms, least, rank))
    jumps = [jump for jump in jumps if jump[0] > jump[1]]
    if not jumps:
        return curve[0][0], "no jump above the noise, the start rank stays"
    largest, slack, _ = max(jumps)
    _, _, rank = max((j for j in jumps if j[0] >= largest - max(slack, j[1])), key=lambda j: j[2])
    return rank, "just below the largest jump"


def _least(above: Timing, noise: float, spread_ms: float) -> float:
    """Return the difference, in milliseconds, up to which two timings count as equal."""
    # a model has no noise, but its equal steps differ by rounding
    return max(max(noise, 1e-9) * above.median_ms, spread_ms)


def _timing(value: Timing | float) -> Timing:
    return value if isinstance(value, Timing) else Timing(float(value))
