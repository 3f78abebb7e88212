from __future__ import annotations

import pytest

from ms_eff.methods.lowrank.cost_model import MACHINES, LayerWork, Machine, modelled_ms
from ms_eff.methods.lowrank.costs import Positions, macs_of
from ms_eff.methods.lowrank.rank_search import search_rank

CONV = LayerWork("conv", (512, 512, 3, 3), (32, 512, 14, 14), (32, 512, 14, 14))
# arithmetic alone: memory and launches are free, tiles of one
ARITHMETIC = Machine(macs_per_s=1e9, bytes_per_s=1e30, launch_s=0.0, align=1)


@pytest.mark.parametrize(
    ("work", "rank"),
    [
        (CONV, (40, 40)),
        (LayerWork("conv", (32, 16, 3, 3), (2, 16, 8, 8), (2, 32, 4, 4)), (12, 12)),
        (LayerWork("conv1x1", (32, 16, 1, 1), (2, 16, 8, 8), (2, 32, 4, 4)), (5,)),
        (LayerWork("dense", (10, 64), (8, 64), (8, 10)), (4,)),
        (LayerWork("embedding", (100, 32), (2, 7), (2, 7, 32)), (4,)),
    ],
)
def test_without_tiles_and_memory_it_is_the_macs(work, rank):
    def pixels(shape):
        return shape[0] * (shape[2] * shape[3] if len(shape) == 4 else 1)

    positions = Positions(pixels(work.input), pixels(work.output))
    if work.kind == "embedding":
        positions = Positions(14, 14)
    for wanted, given in ((None, None), (rank, rank[0])):
        macs = macs_of(work.kind, work.shape, positions, wanted)
        assert modelled_ms(work, given, "infer", ARITHMETIC) == pytest.approx(macs / 1e6)
    passes = 2 if work.kind == "embedding" else 3
    if work.kind != "embedding":
        expected = passes * macs_of(work.kind, work.shape, positions, rank) / 1e6
        assert modelled_ms(work, rank[0], "train", ARITHMETIC) == pytest.approx(expected)


def test_the_bytes_of_a_dense_layer_by_hand():
    memory = Machine(macs_per_s=1e30, bytes_per_s=1e6, launch_s=0.0)
    work = LayerWork("dense", (10, 64), (8, 64), (8, 10))
    # 10 outputs are stored as 16: 8 x 64 inputs, 64 x 16 weights, 8 x 16 outputs, 2 bytes each
    assert modelled_ms(work, None, "infer", memory) == pytest.approx(2 * (512 + 1024 + 128) / 1e3)


def test_launches_make_three_small_factors_slower_than_one_layer():
    small = LayerWork("conv", (16, 16, 3, 3), (1, 16, 4, 4), (1, 16, 4, 4))
    assert modelled_ms(small, 4) > modelled_ms(small)


def test_the_curve_steps_at_multiples_of_sixteen_and_nowhere_else():
    for objective in ("infer", "train"):
        for rank in range(100, 300):
            step = modelled_ms(CONV, rank + 1, objective) > modelled_ms(CONV, rank, objective)
            assert step == (rank % 16 == 0)


@pytest.mark.parametrize("machine", MACHINES)
def test_a_search_by_the_model_lands_on_a_tile(machine):
    choice = search_rank(
        lambda rank: modelled_ms(CONV, rank, "infer", MACHINES[machine]),
        modelled_ms(CONV, None, "infer", MACHINES[machine]),
        309,
        noise=0.0,
    )
    assert choice.rank == 304
