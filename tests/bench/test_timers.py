from __future__ import annotations

import numpy as np
import pytest

from ms_eff.bench.timers import Comparison, WallTimer, compare, summary


class FakeClock:
    """Time that passes only where work says so."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def work(self, milliseconds):
        def run():
            self.now += next(milliseconds) / 1000.0

        return run


def test_warmup_does_not_count():
    clock = FakeClock()
    timer = WallTimer(warmup=2, runs=3, clock=clock)
    samples = timer.samples(clock.work(iter([900, 800, 3, 1, 2])))
    np.testing.assert_allclose(samples, [3, 1, 2])


def test_rivals_take_turns_and_no_one_always_goes_first():
    order = []
    compare({"a": lambda: order.append("a"), "b": lambda: order.append("b")}, warmup=1, runs=3)
    assert "".join(order) == "ab" + "ba" + "ab" + "ba"


def test_drift_hits_all_alike():
    # the machine slows down threefold during the measurement: paired, the speed-up stays exact
    clock, load = FakeClock(), np.linspace(1, 3, 20)
    slow, fast = (clock.work(iter(base * load)) for base in (8.0, 4.0))
    taken = compare({"dense": slow, "small": fast}, warmup=0, runs=20, clock=clock)
    speedup = taken.speedup("small", "dense")
    np.testing.assert_allclose([speedup.median, speedup.p10, speedup.p90], 2.0)
    assert taken.summary("dense").p90_ms > 2 * taken.summary("dense").p10_ms


def test_summary_is_the_percentiles_of_numpy():
    samples = np.random.default_rng(0).gamma(2.0, size=31)
    taken = summary(samples)
    assert taken.median_ms == np.median(samples)
    assert (taken.p10_ms, taken.p90_ms) == tuple(np.percentile(samples, [10, 90]))
    assert taken.iqr_ms == np.subtract(*np.percentile(samples, [75, 25]))
    assert taken.to_dict()["runs"] == 31


def test_results_are_waited_for():
    class Late:
        waited = 0

        def asnumpy(self):
            Late.waited += 1

    compare({"a": lambda: (Late(), [Late()])}, warmup=0, runs=2)
    assert Late.waited == 4


def test_slower_is_below_one():
    assert Comparison({"a": [1.0], "b": [4.0]}).speedup("b", "a").median == 0.25


@pytest.mark.parametrize(("warmup", "runs"), [(0, 0), (-1, 5)])
def test_no_runs_are_refused(warmup, runs):
    with pytest.raises(ValueError, match="runs: expected at least 1"):
        compare({"a": int}, warmup, runs)
    with pytest.raises(ValueError, match="samples: expected at least one"):
        summary([])
