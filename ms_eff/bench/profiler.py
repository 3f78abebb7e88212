"""Timing by MindSpore's profiler: the kernels' own time, without what lies between them."""

from __future__ import annotations

import json
import os
import tempfile
import time
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ms_eff.bench.timers import Comparison, Work, compare, in_turns, wait
from ms_eff.errors import SetupError

__all__ = ["ProfilerTimer", "kernel_ms", "kernels_by_type"]

# the rows of a trace that hold kernels: the CPU's, and an Ascend device's (that one not run here)
_KERNELS = ("CPU OP", "Ascend Hardware")


@dataclass(frozen=True)
class ProfilerTimer:
    """Time work by the sum of its kernels' durations, as MindSpore's profiler records them.

    What the host does between two kernels does not count, so that small layers are compared by
    their arithmetic; a wall clock counts it.

    Args:
        warmup: runs thrown away first, outside the profile.
        runs: runs that count.
    """

    warmup: int = 3
    runs: int = 20

    def samples(self, work: Work) -> list[float]:
        """Return the kernels' time of `runs` runs, in milliseconds."""
        return self.compare({"": work}).samples[""]

    def compare(self, candidates: Mapping[str, Work]) -> Comparison:
        """Time rivals in turns in one profile; arguments and result as `timers.compare`'s.

        Raises:
            SetupError: the profiler left no trace, or one without kernels.
        """
        compare(candidates, warmup=0, runs=max(self.warmup, 1))  # compiles, fills caches
        began: list[float] = []
        order: list[str] = []
        with tempfile.TemporaryDirectory() as folder:
            with _quiet(), _profile(folder):
                for name, run in in_turns(candidates, self.runs):
                    order.append(name)
                    began.append(time.time() * 1e6)  # microseconds, as the trace has them
                    run()
            taken = kernel_ms(_events(Path(folder)), began)
        samples: dict[str, list[float]] = {name: [] for name in candidates}
        for name, duration in zip(order, taken, strict=True):
            samples[name].append(duration)
        return Comparison(samples)


def kernel_ms(events: Sequence[Mapping[str, Any]], began: Sequence[float]) -> list[float]:
    """Return the kernels' time in each of several runs, in milliseconds.

    Args:
        events: of a Chrome trace: `M` events name the processes, `X` events have `ts` and `dur`
            in microseconds.
        began: when each run began, rising, in microseconds; a kernel belongs to the last run that
            had begun.

    Raises:
        SetupError: there is no kernel.

    >>> kernel_ms([{"ph": "M", "name": "process_name", "pid": 2, "args": {"name": "CPU OP"}},
    ...            {"ph": "X", "pid": 2, "ts": "10.0", "dur": "500"}], [9.0])
    [0.5]
    """
    taken = [0.0] * len(began)
    found = _kernels(events)
    for event in found:
        run = bisect_right(began, float(event["ts"])) - 1
        if run >= 0:
            taken[run] += float(event["dur"]) / 1000.0
    if not found:
        raise SetupError(
            "rank_search.timer: MindSpore's profiler recorded no kernels here; use timer: wall"
        )
    return taken


def kernels_by_type(work: Work, runs: int = 3) -> dict[str, float]:
    """Return the kernels' time in one run by operator type, in milliseconds, largest first.

    It should have run before, so that nothing is compiled now.

    Raises:
        SetupError: the profiler left no trace.
    """
    with tempfile.TemporaryDirectory() as folder:
        with _quiet(), _profile(folder):
            for _ in range(runs):
                wait(work())
        taken: dict[str, float] = {}
        for event in _kernels(_events(Path(folder))):
            kind = event["name"].rpartition("/")[2].partition("-op")[0]
            taken[kind] = taken.get(kind, 0.0) + float(event["dur"]) / 1000.0 / runs
    return dict(sorted(taken.items(), key=lambda item: -item[1]))


def _kernels(events: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    rows = {
        event["pid"]
        for event in events
        if event.get("name") == "process_name" and event["args"].get("name") in _KERNELS
    }
    return [event for event in events if event.get("ph") == "X" and event["pid"] in rows]


def _profile(folder: str) -> Any:
    import mindspore as ms
    from mindspore import profiler

    here = profiler.ProfilerActivity
    on_host = ms.get_context("device_target") == "CPU"
    return profiler.profile(
        activities=[here.CPU] if on_host else [here.CPU, here.NPU],
        on_trace_ready=profiler.tensorboard_trace_handler(folder),
    )


def _events(folder: Path) -> list[dict[str, Any]]:
    traces = sorted(folder.rglob("trace_view.json"))
    if not traces:
        raise SetupError(
            "rank_search.timer: MindSpore's profiler left no trace here; use timer: wall"
        )
    events: list[dict[str, Any]] = json.loads(traces[-1].read_text(encoding="utf-8"))
    return events


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the profiler's progress bars, printed by its child processes too, off the terminal."""
    kept = os.dup(1), os.dup(2)
    with open(os.devnull, "w") as nowhere, redirect_stdout(nowhere):
        try:
            os.dup2(nowhere.fileno(), 1)
            os.dup2(nowhere.fileno(), 2)
            yield
        finally:
            for number, descriptor in enumerate(kept, start=1):
                os.dup2(descriptor, number)
                os.close(descriptor)
