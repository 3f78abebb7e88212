from __future__ import annotations

import numpy as np
import pytest

from ms_eff.data.order import balanced_subset, batch_indices, epoch_order, steps_per_epoch
from ms_eff.errors import DataError


@pytest.mark.parametrize("samples", [1, 7, 8, 23, 24, 25])
@pytest.mark.parametrize("world_size", [1, 3])
def test_steps_are_the_number_of_batches_counted_one_by_one(samples, world_size):
    whole, left = 0, samples
    while left >= 4 * world_size:
        whole, left = whole + 1, left - 4 * world_size
    assert steps_per_epoch(samples, 4, world_size) == whole
    assert steps_per_epoch(samples, 4, world_size, drop_last=False) == whole + (left > 0)


def test_order_depends_on_seed_and_epoch_only():
    indices = np.arange(100)
    order = epoch_order(indices, seed=1, epoch=2, shuffle=True)
    np.testing.assert_array_equal(epoch_order(indices, seed=1, epoch=2, shuffle=True), order)
    assert sorted(order) == list(range(100))
    for seed, epoch in ((1, 3), (2, 2)):
        assert not np.array_equal(epoch_order(indices, seed=seed, epoch=epoch, shuffle=True), order)


@pytest.mark.parametrize("world_size", [1, 2, 3])
def test_workers_share_each_step_and_every_sample_counts_once(world_size):
    order = np.random.default_rng(0).permutation(41)
    steps = steps_per_epoch(41, 4, world_size, drop_last=False)
    counted = []
    for step in range(steps):
        shares = [
            batch_indices(order, step, batch_size=4, rank=rank, world_size=world_size)
            for rank in range(world_size)
        ]
        counted += [sample for samples, valid in shares for sample in samples[valid]]
        assert all(len(samples) == 4 for samples, _ in shares)
    np.testing.assert_array_equal(counted, order)


def test_samples_of_a_step_depend_on_the_global_batch_only():
    order = np.random.default_rng(0).permutation(64)
    one, _ = batch_indices(order, 3, batch_size=8)
    two = [batch_indices(order, 3, batch_size=4, rank=rank, world_size=2)[0] for rank in (0, 1)]
    np.testing.assert_array_equal(np.concatenate(two), one)


def test_subset_takes_the_first_of_each_class():
    labels = np.array([2, 0, 0, 1, 1, 0, 2, 1, 2, 0])
    chosen = balanced_subset(labels, 6, "data.train_limit")
    expected = sorted(i for c in range(3) for i in np.flatnonzero(labels == c)[:2])
    assert chosen.tolist() == expected


def test_a_short_class_gives_all_and_the_others_make_up():
    labels = np.array([0] * 10 + [1] * 2 + [2] * 10)
    chosen = labels[balanced_subset(labels, 12, "data.train_limit")]
    assert np.bincount(chosen).tolist() == [5, 2, 5]


def test_more_samples_than_there_are_is_an_error():
    labels = np.zeros(5, np.int32)
    assert balanced_subset(labels, None, "data.test_limit").tolist() == list(range(5))
    assert balanced_subset(labels, 5, "data.test_limit").tolist() == list(range(5))
    with pytest.raises(DataError, match=r"data\.test_limit: 6 .* there are 5"):
        balanced_subset(labels, 6, "data.test_limit")
