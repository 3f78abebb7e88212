from __future__ import annotations

import math

import numpy as np
import pytest

from ms_eff.methods.lowrank.rank_search import Timing, probed_ranks, rank_floor, search_rank


def staircase(rank: int) -> float:
    return float(math.ceil(rank / 64))


def noisy(rng: np.random.Generator, base: float, runs: int = 1) -> Timing:
    return Timing.of(base * rng.uniform(0.98, 1.02, runs))


def test_the_rank_below_the_cliff_is_taken():
    choice = search_rank(staircase, 9.0, 309, floor=242)
    assert choice.rank == 256
    assert [rank for rank, _ in choice.curve] == list(range(309, 241, -1))


def test_a_faster_original_stays():
    assert search_rank(staircase, 3.9, 309, floor=242).rank is None
    assert search_rank(staircase, 4.0, 309, floor=242).rank is None  # t >= T
    assert "ORG" in search_rank(staircase, 3.9, 309, floor=242).why
    assert search_rank(staircase, 4.1, 309, floor=242).rank == 256


def test_a_gain_within_the_noise_keeps_the_original():
    assert search_rank(lambda rank: 4.95, 5.0, 10).rank is None  # 1 %, below the 2 % of `noise`
    assert "within the noise" in search_rank(lambda rank: 4.95, 5.0, 10).why
    assert search_rank(lambda rank: 4.95, 5.0, 10, noise=0.0).rank == 10
    wide = Timing(4.0, 0.6)
    assert search_rank(lambda rank: wide, Timing(5.0, 0.5), 10).rank is None  # 1.0 of 1.1 ms spread
    assert search_rank(lambda rank: wide, Timing(5.0, 0.3), 10).rank == 10
    # twenty-five runs settle what one leaves open: the medians are five times surer
    many = Timing(4.0, 0.6, 25)
    assert search_rank(lambda rank: many, Timing(5.0, 0.5, 25), 10).rank == 10


@pytest.mark.parametrize("seed", range(20))
def test_a_layer_about_as_fast_as_its_factors_is_org_in_every_search(seed):
    rng = np.random.default_rng(seed)
    assert search_rank(lambda r: noisy(rng, 4.98, 20), noisy(rng, 5.0, 20), 38).rank is None


def test_a_flat_curve_keeps_the_start_rank():
    assert search_rank(lambda rank: 5.0, 9.0, 309, floor=242).rank == 309


@pytest.mark.parametrize("seed", range(20))
def test_noise_of_two_percent_changes_nothing(seed):
    rng = np.random.default_rng(seed)
    single = search_rank(lambda r: noisy(rng, staircase(r)), 9.0, 309, floor=242)
    repeated = search_rank(lambda r: noisy(rng, staircase(r), 20), 9.0, 309, floor=242)
    flat = search_rank(lambda r: noisy(rng, 5.0, 20), 9.0, 309, floor=242)
    assert (single.rank, repeated.rank, flat.rank) == (256, 256, 309)


def test_ties_go_to_the_larger_rank():
    two = {10: 4.0, 9: 3.0, 8: 3.0, 7: 2.0}
    assert search_rank(two.__getitem__, 9.0, 10).rank == 9
    # equal within the noise is a tie too; clearly larger is not
    close = {10: Timing(4.0, 0.2), 9: Timing(3.1, 0.2), 8: Timing(3.1, 0.2), 7: Timing(2.1, 0.2)}
    assert search_rank(close.__getitem__, 9.0, 10).rank == 9
    assert search_rank(({**close, 7: Timing(1.0, 0.2)}).__getitem__, 9.0, 10).rank == 7


def test_a_jump_within_the_spread_does_not_count():
    curve = {10: Timing(4.0, 0.6), 9: Timing(3.0, 0.6), 8: Timing(3.0, 0.6), 7: Timing(3.0, 0.6)}
    assert search_rank(curve.__getitem__, 9.0, 10).rank == 10


def test_the_fast_mode_probes_multiples_only():
    asked = []

    def time_of(rank):
        asked.append(rank)
        return staircase(rank)

    assert search_rank(time_of, 9.0, 309, floor=242, step=16).rank == 256
    assert asked == [309, 304, 288, 272, 256]
    assert probed_ranks(25, 18, 16) == [25]  # no multiple in reach: the start rank is all


def test_the_floor_is_seven_tenths():
    for R in range(1, 2000):  # against whole-number arithmetic
        assert rank_floor(R) == -(-7 * R // 10)
    with pytest.raises(ValueError, match="floor: expected 1"):
        search_rank(staircase, 1.0, 10, floor=11)
