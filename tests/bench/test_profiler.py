"""The references: sums by hand, and the wall clock that a kernel's time cannot exceed."""

from __future__ import annotations

import time
from functools import partial

import mindspore as ms
import numpy as np
import pytest
from mindspore import nn

from ms_eff.bench.profiler import ProfilerTimer, kernel_ms
from ms_eff.errors import SetupError


def test_kernels_count_for_the_run_they_began_in() -> None:
    name = {"ph": "M", "name": "process_name", "pid": 7, "args": {"name": "CPU OP"}}
    other = {"ph": "M", "name": "process_name", "pid": 8, "args": {"name": "Scope Layer"}}
    kernels = [(7, 5, 1000), (7, 11, 2000), (7, 19, 3000), (7, 21, 4000), (8, 21, 9000)]
    events = [{"ph": "X", "pid": p, "ts": str(t), "dur": str(d)} for p, t, d in kernels]
    assert kernel_ms([name, other, *events], [10.0, 20.0]) == [5.0, 4.0]


def test_a_trace_without_kernels_is_named() -> None:
    with pytest.raises(SetupError, match="recorded no kernels here; use timer: wall"):
        kernel_ms([], [1.0])


@pytest.mark.gate
def test_kernel_time_is_within_the_wall_clocks_and_nothing_is_printed(capfd) -> None:
    # each run's kernels against that run's own clock: other work on the machine slows both
    cell = nn.Dense(512, 512).set_train(False)
    rows = {"large": 256, "small": 1}
    wall: dict[str, list[float]] = {name: [] for name in rows}

    def timed(name: str, inputs: ms.Tensor) -> None:
        start = time.perf_counter()
        cell(inputs).asnumpy()
        wall[name].append(1e3 * (time.perf_counter() - start))

    inputs = {name: ms.Tensor(np.ones((count, 512), np.float32)) for name, count in rows.items()}
    work = {name: partial(timed, name, value) for name, value in inputs.items()}
    kernels = ProfilerTimer(warmup=1, runs=3).compare(work).samples
    assert [len(runs) for runs in kernels.values()] == [3, 3]
    for name, taken in kernels.items():
        assert all(0 < one < all_ for one, all_ in zip(taken, wall[name][-3:], strict=True))
    assert min(kernels["small"]) < min(kernels["large"])
    assert capfd.readouterr().out == ""
