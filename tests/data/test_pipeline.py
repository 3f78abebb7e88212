from __future__ import annotations

from pathlib import Path

import mindspore.dataset as ds
import numpy as np
import pytest
from PIL import Image

from ms_eff.data import DataSettings, build, steps_per_epoch
from ms_eff.data.arrays import ArraySplit
from ms_eff.data.pipeline import batches
from ms_eff.errors import ConfigError, DataError

SAMPLES = 43


@pytest.fixture(scope="module")
def split() -> ArraySplit:
    images = np.random.default_rng(0).integers(0, 256, (SAMPLES, 3, 16, 16), dtype=np.uint8)
    labels = np.arange(SAMPLES, dtype=np.int32) % 5
    statistics = {"mean": (0.5,) * 3, "std": (0.25,) * 3}
    return ArraySplit(images, labels, tuple("abcde"), augment="crop_flip", **statistics)


def rows(split, **args) -> list[list[np.ndarray]]:
    args = {"batch_size": 4, "epoch": 2, "seed": 1, **args}
    dataset = batches(split, **args)
    found = list(dataset.create_tuple_iterator(num_epochs=1, output_numpy=True))
    assert len(found) == dataset.get_dataset_size()
    return found


def assert_same(one, two) -> None:
    assert len(one) == len(two)
    for row, other in zip(one, two, strict=True):
        for array, twin in zip(row, other, strict=True):
            np.testing.assert_array_equal(array, twin)


def counted(found) -> list[int]:
    return [sample for row in found for sample in row[2] if sample >= 0]


def test_columns_and_types(split):
    image, label, index = next(batches(split, batch_size=4).create_tuple_iterator())
    assert (image.shape, label.shape, index.shape) == ((4, 3, 16, 16), (4,), (4,))
    assert [str(column.dtype) for column in (image, label, index)] == ["Float32", "Int32", "Int32"]
    named = next(batches(split, batch_size=4).create_dict_iterator())
    assert list(named) == ["image", "label", "index"]
    assert len(next(iter(batches(split, batch_size=4, with_index=False)))) == 2


def test_rows_are_what_the_split_gives(split):
    for image, label, index in rows(split):
        expected, labels = split.batch(index, (1, 2))
        np.testing.assert_array_equal(image, expected)
        np.testing.assert_array_equal(label, labels)


def test_same_seed_same_epoch_same_batches(split):
    first = rows(split)
    assert_same(rows(split), first)
    for other in ({"epoch": 3}, {"seed": 2}):
        assert not np.array_equal(rows(split, **other)[0][2], first[0][2])


def test_an_epoch_can_be_read_twice(split):
    dataset = batches(split, batch_size=4)
    one, two = ([row[2].asnumpy() for row in dataset] for _ in range(2))
    np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize("start", [1, 5, 9])
def test_resuming_gives_the_tail_of_the_epoch(split, start):
    assert_same(rows(split, start_batch=start), rows(split)[start:])


@pytest.mark.parametrize("train", [True, False])
def test_shards_are_disjoint_equal_in_length_and_cover(split, train):
    shards = [rows(split, rank=rank, world_size=3, train=train) for rank in range(3)]
    assert len({len(shard) for shard in shards}) == 1
    assert len(shards[0]) == steps_per_epoch(SAMPLES, 4, 3, drop_last=train)
    seen = sorted(sample for shard in shards for sample in counted(shard))
    assert len(set(seen)) == len(seen) == (36 if train else SAMPLES)


def test_sharded_steps_are_those_of_one_worker_with_the_whole_batch(split):
    whole = rows(split, batch_size=8)
    shards = [rows(split, rank=rank, world_size=2) for rank in (0, 1)]
    joined = [
        [np.concatenate(pair) for pair in zip(*parts, strict=True)]
        for parts in zip(*shards, strict=True)
    ]
    assert_same(joined, whole)


def test_training_drops_the_rest_and_shuffles(split):
    found = counted(rows(split))
    assert len(set(found)) == len(found) == 40
    assert found != sorted(found)


def test_evaluation_counts_each_sample_once_in_order(split):
    found = rows(split, train=False, batch_size=16)
    assert counted(found) == list(range(SAMPLES))
    assert all(row[0].shape == (16, 3, 16, 16) for row in found)
    assert found[-1][2].tolist() == [*range(32, SAMPLES), -1, -1, -1, -1, -1]
    plain, labels = split.batch(np.array([40, 0]))
    np.testing.assert_array_equal(found[-1][0][[8, 11]], plain)
    np.testing.assert_array_equal(found[-1][1][[8, 11]], labels)


def test_a_subset_is_gone_over_and_its_samples_look_the_same(split):
    subset = np.array([41, 3, 7, 20, 30, 11, 2, 9])
    found = rows(split, indices=subset)
    assert sorted(counted(found)) == sorted(subset)
    whole = {sample: image for row in rows(split) for image, _, sample in zip(*row, strict=True)}
    for image, _, sample in (sample for row in found for sample in zip(*row, strict=True)):
        if sample in whole:
            np.testing.assert_array_equal(image, whole[sample])
    in_order = rows(split, indices=subset, train=False)
    assert counted(in_order) == subset.tolist()


def test_fewer_samples_than_a_batch_are_filled_up(split):
    (row,) = rows(split, indices=np.array([5, 6]), train=False, batch_size=5)
    assert row[2].tolist() == [5, 6, -1, -1, -1]


@pytest.fixture
def folder(tmp_path):
    rng = np.random.default_rng(0)
    for part in ("train", "val"):
        for name in ("a", "b"):
            (tmp_path / part / name).mkdir(parents=True)
            for index in range(12):
                pixels = rng.integers(0, 256, (20, 24, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(tmp_path / part / name / f"{index:02}.png")
    settings = DataSettings(name="image_folder", root=tmp_path, image_size=16, corrupt="skip")
    return build(settings)


@pytest.mark.parametrize("train", [True, False])
def test_workers_change_nothing(split, folder, train):
    for source in (split, folder.train):
        one = rows(source, batch_size=20, workers=1, train=train)
        assert_same(rows(source, batch_size=20, workers=2, train=train), one)
        assert_same(rows(source, batch_size=20, workers=5, train=train), one)


def test_stand_ins_are_left_out_of_evaluation_only(folder):
    for split in (folder.train, folder.test):
        Path(split.paths[3]).write_text("damaged")
    assert counted(rows(folder.test, train=False, workers=2)) == [0, 1, 2, *range(4, 24)]
    assert sorted(counted(rows(folder.train))) == list(range(24))


@pytest.mark.parametrize("workers", [1, 2])
def test_the_source_s_own_error_comes_out(folder, workers):
    folder.test._skip_damaged = False
    Path(folder.test.paths[10]).write_text("damaged")
    found = batches(folder.test, batch_size=4, train=False, workers=workers)
    with pytest.raises(DataError, match=r"a/10\.png: expected a readable picture"):
        list(found.create_tuple_iterator(num_epochs=1))


def test_an_epoch_can_be_stopped_and_leaves_the_global_prefetch_alone(split):
    before = ds.config.get_prefetch_size()
    found = batches(split, batch_size=4).create_tuple_iterator(num_epochs=1)
    next(found)
    assert ds.config.get_prefetch_size() == before
    found.stop()
    found.stop()
    assert list(found) == []


@pytest.mark.parametrize(
    ("args", "error", "message"),
    [
        ({"start_batch": 10}, ConfigError, "start_batch 10 must be in 0 to 9"),
        ({"start_batch": -1}, ConfigError, "start_batch -1"),
        ({"rank": 2, "world_size": 2}, ConfigError, "rank 2 must be in 0 to world_size - 1 = 1"),
        ({"indices": np.array([0, 43])}, ConfigError, "indices from 0 to 43, .* 0 to 42"),
        ({"indices": np.array([-1, 4])}, ConfigError, "indices from -1"),
        ({"indices": np.array([], int)}, DataError, "0 of 43 samples"),
        ({"batch_size": 64}, DataError, r"data\.batch_size: 43 of 43 .* batch of 64"),
        ({"seed": -1}, ConfigError, "seed -1"),
        ({"train": False, "with_index": False}, ConfigError, "with_index=False cannot tell"),
    ],
)
def test_arguments_out_of_range_are_named(split, args, error, message):
    with pytest.raises(error, match=message):
        batches(split, **{"batch_size": 4, **args})
