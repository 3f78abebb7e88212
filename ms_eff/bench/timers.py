"""Timing with warm-up, synchronisation and spread; rivals measured in turns, in one process."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, Protocol

import numpy as np

__all__ = [
    "Comparison",
    "Speedup",
    "Summary",
    "Timer",
    "WallTimer",
    "against",
    "compare",
    "in_turns",
    "summary",
    "wait",
]

Work = Callable[[], Any]


class Timer(Protocol):
    """Whatever can time a piece of work: a wall clock, a profiler, a recorded table."""

    def samples(self, work: Work) -> list[float]:
        """Return one duration a run, in milliseconds."""
        ...


@dataclass(frozen=True)
class Summary:
    """Durations in milliseconds: the median and how far the runs spread round it."""

    median_ms: float
    p10_ms: float
    p90_ms: float
    iqr_ms: float
    runs: int

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as JSON takes them."""
        return asdict(self)


@dataclass(frozen=True)
class Speedup:
    """How many times faster than the baseline, from pairs of runs that stood side by side."""

    median: float
    p10: float
    p90: float

    def to_dict(self) -> dict[str, float]:
        """Return the fields as JSON takes them."""
        return asdict(self)


@dataclass(frozen=True)
class WallTimer:
    """Time work on a clock.

    Args:
        warmup: runs thrown away first; they compile graphs and fill caches.
        runs: runs that count.
        clock: seconds, rising; `time.perf_counter` unless a test says otherwise.
    """

    warmup: int = 3
    runs: int = 20
    clock: Callable[[], float] = time.perf_counter

    def samples(self, work: Work) -> list[float]:
        """Return the durations of `runs` runs, in milliseconds."""
        return self.compare({"": work}).samples[""]

    def compare(self, candidates: Mapping[str, Work]) -> Comparison:
        """Time rivals in turns; see the function of that name."""
        return compare(candidates, self.warmup, self.runs, self.clock)


@dataclass(frozen=True)
class Comparison:
    """Samples in milliseconds by candidate; the i-th of each were taken in the same round."""

    samples: dict[str, list[float]]

    def summary(self, name: str) -> Summary:
        """Return one candidate's median and spread."""
        return summary(self.samples[name])

    def speedup(self, name: str, baseline: str) -> Speedup:
        """Return how many times faster `name` is than `baseline`, paired round by round.

        >>> Comparison({"a": [4.0, 8.0], "b": [2.0, 4.0]}).speedup("b", "a").median
        2.0
        """
        pairs = np.divide(self.samples[baseline], self.samples[name])
        median, p10, p90 = np.percentile(pairs, [50, 10, 90])
        return Speedup(float(median), float(p10), float(p90))


def against(
    found: Comparison, bound: float, baseline: str = "dense", names: Sequence[str] = ("changed",)
) -> dict[str, Any]:
    """Hold a changed network's times against the dense one's and against what its work allows.

    Args:
        found: times of all of them.
        bound: the speed-up if time were proportional to the work.
        baseline: the dense network.
        names: the changed one; several are phases of equal length, taken in turn.

    Returns:
        JSON: `dense`, `changed`, `speedup` with its spread, `bound`, `share_of_bound`.
    """
    pair = Comparison(
        {
            "dense": found.samples[baseline],
            "changed": np.mean([found.samples[name] for name in names], axis=0).tolist(),
        }
    )
    speedup = pair.speedup("changed", "dense")
    return {
        "dense": pair.summary("dense").to_dict(),
        "changed": pair.summary("changed").to_dict(),
        "speedup": speedup.to_dict(),
        "bound": bound,
        "share_of_bound": speedup.median / bound,
    }


def summary(samples: Sequence[float]) -> Summary:
    """Summarise durations in milliseconds.

    Raises:
        ValueError: there is no sample.

    >>> summary([1.0, 2.0, 3.0]).median_ms
    2.0
    """
    if len(samples) == 0:
        raise ValueError("samples: expected at least one duration, got none")
    median, p10, p90, q1, q3 = np.percentile(samples, [50, 10, 90, 25, 75])
    return Summary(float(median), float(p10), float(p90), float(q3 - q1), len(samples))


def compare(
    candidates: Mapping[str, Work],
    warmup: int = 3,
    runs: int = 20,
    clock: Callable[[], float] = time.perf_counter,
) -> Comparison:
    """Time rivals in turns, so that a machine that slows down slows all of them alike.

    Each round runs every candidate once, and the next round starts with another one.

    Args:
        candidates: work by name; what it returns is waited for.
        warmup: rounds thrown away.
        runs: rounds that count.
        clock: seconds, rising.

    Raises:
        ValueError: `runs` below 1 or `warmup` below 0.
    """
    if runs < 1 or warmup < 0:
        raise ValueError(f"runs: expected at least 1 (warmup 0), got {runs} (warmup {warmup})")
    samples: dict[str, list[float]] = {name: [] for name in candidates}
    for turn, (name, run) in enumerate(in_turns(candidates, warmup + runs, clock)):
        taken = run()
        if turn >= warmup * len(samples):
            samples[name].append(taken)
    return Comparison(samples)


def in_turns(
    candidates: Mapping[str, Work], rounds: int, clock: Callable[[], float] = time.perf_counter
) -> Iterator[tuple[str, Callable[[], float]]]:
    """Yield (name, function that runs it once and returns milliseconds), round after round."""
    names = list(candidates)
    for turn in range(rounds):
        first = turn % len(names) if names else 0
        for name in names[first:] + names[:first]:
            yield name, partial(_once, candidates[name], clock)


def _once(work: Work, clock: Callable[[], float]) -> float:
    start = clock()
    wait(work())
    return (clock() - start) * 1000.0


def wait(result: Any) -> None:
    """Wait until a result is there: MindSpore returns before the device has finished."""
    if isinstance(result, (tuple, list)):
        for part in result:
            wait(part)
    elif hasattr(result, "asnumpy"):
        result.asnumpy()
