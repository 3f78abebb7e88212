from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest

from ms_eff.data import DataSettings, build
from ms_eff.errors import DataError
from tests.tolerances import LAYER

NAMES = [f"kind{number}" for number in range(10)]


def write_records(file: Path, count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.arange(count) % 10).astype(np.uint8)
    pixels = rng.integers(0, 256, (count, 3, 32, 32), dtype=np.uint8)
    pairs = zip(labels, pixels, strict=True)
    file.write_bytes(b"".join(bytes([label]) + picture.tobytes() for label, picture in pairs))
    return pixels, labels


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / "cifar-10-batches-bin"
    path.mkdir()
    for number in range(1, 6):
        write_records(path / f"data_batch_{number}.bin", 10, number)
    write_records(path / "test_batch.bin", 20, 0)
    (path / "batches.meta.txt").write_text("\n".join(NAMES) + "\n\n")
    return path


def load(root: Path, **args):
    return build(DataSettings(name="cifar10", root=root, **args))


@pytest.mark.parametrize("nested", [True, False])
def test_files_are_read_in_order(folder, nested):
    data = load(folder.parent if nested else folder)
    assert (len(data.train), len(data.test), data.image_shape) == (50, 20, (3, 32, 32))
    assert data.classes == tuple(NAMES)
    pixels, labels = write_records(folder / "again.bin", 10, 4)
    got, got_labels = data.train.batch(np.arange(30, 40))
    mean, std = (np.reshape(value, (3, 1, 1)) for value in (data.mean, data.std))
    np.testing.assert_allclose(got, (pixels / 255.0 - mean) / std, atol=LAYER)
    np.testing.assert_array_equal(got_labels, labels)


def test_fewer_training_files_are_taken_and_noted(folder, caplog):
    for number in (2, 3, 4, 5):
        (folder / f"data_batch_{number}.bin").unlink()
    with caplog.at_level(logging.WARNING, logger="ms_eff"):
        assert len(load(folder).train) == 10
    assert "1 of 5 training files there: data_batch_1.bin" in caplog.text


def test_published_names_stand_in_for_a_missing_list(folder):
    (folder / "batches.meta.txt").unlink()
    assert load(folder).classes[:2] == ("airplane", "automobile")


def test_first_images_of_each_class_are_kept(folder):
    data = load(folder, train_limit=20, test_limit=10)
    assert np.bincount(data.train.labels).tolist() == [2] * 10
    first, _ = load(folder).train.batch(np.arange(10))
    kept, _ = data.train.batch(np.arange(10))
    np.testing.assert_array_equal(kept, first)  # the first file holds one image of each class


@pytest.mark.parametrize(("limit", "files"), [(None, (3, 4, 5)), (10, (3,))])
def test_held_out_images_are_those_that_training_leaves_out(folder, limit, files):
    data = load(folder, train_limit=20, test_limit=limit, test_split="held_out", augment="none")
    wanted, labels = zip(*(write_records(folder / "again.bin", 10, n) for n in files), strict=True)
    mean, std = (np.reshape(value, (3, 1, 1)) for value in (data.mean, data.std))
    pixels, found = data.test.batch(np.arange(len(data.test)))
    np.testing.assert_allclose(pixels, (np.concatenate(wanted) / 255 - mean) / std, atol=LAYER)
    np.testing.assert_array_equal(found, np.concatenate(labels))
    kept, _ = data.train.batch(np.arange(20))
    same = load(folder, train_limit=20, augment="none").train.batch(np.arange(20))[0]
    np.testing.assert_array_equal(kept, same)


def test_a_limit_that_leaves_nothing_to_hold_out_is_refused(folder):
    with pytest.raises(DataError, match=r"held_out: data\.train_limit = 50 leaves none of the 50"):
        load(folder, train_limit=50, test_split="held_out")
    with pytest.raises(DataError, match=r"data\.test_limit: 31 samples .* there are 30"):
        load(folder, train_limit=20, test_limit=31, test_split="held_out")


def test_enlarged_pictures(folder):
    data = load(folder, image_size=64)
    assert data.test.batch(np.arange(3))[0].shape == (3, *data.image_shape) == (3, 3, 64, 64)


def test_truncated_file_is_named_with_expected_and_found(folder):
    file = folder / "data_batch_3.bin"
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(DataError, match=r"data_batch_3\.bin: expected .*3073.* found 30,729 bytes"):
        load(folder)


def test_empty_file_is_refused(folder):
    (folder / "test_batch.bin").write_bytes(b"")
    with pytest.raises(DataError, match=r"test_batch\.bin: .* found 0 bytes"):
        load(folder)


def test_wrong_label_is_named_with_its_record(folder):
    file = folder / "test_batch.bin"
    content = bytearray(file.read_bytes())
    content[3073 * 6] = 10
    file.write_bytes(content)
    with pytest.raises(DataError, match=r"test_batch\.bin: .*0 to 9, found 10 in record 6"):
        load(folder)


def test_unreadable_file_is_an_error(folder, monkeypatch):
    def denied(*args, **kwargs):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(np, "fromfile", denied)
    with pytest.raises(DataError, match=r"data_batch_1\.bin: .*Permission denied"):
        load(folder)


def test_wrong_number_of_names_is_an_error(folder):
    (folder / "batches.meta.txt").write_text("cat\ndog\n")
    with pytest.raises(DataError, match=r"batches\.meta\.txt: expected 10 .* found 2"):
        load(folder)


@pytest.mark.parametrize(
    ("missing", "message"),
    [
        ("root", "found no such folder"),
        ("files", "found an empty folder"),
        ("test", r"expected test_batch\.bin .* found batches\.meta\.txt"),
        ("train", r"expected data_batch_1\.bin to data_batch_5\.bin, found none"),
    ],
)
def test_what_is_missing_is_named(folder, tmp_path, missing, message):
    root = folder
    if missing == "root":
        root = tmp_path / "nowhere"
    elif missing == "files":
        root = tmp_path / "empty"
        root.mkdir()
    else:
        for file in folder.glob("test_batch.bin" if missing == "test" else "data_batch_*"):
            file.unlink()
    with pytest.raises(DataError, match=message):
        load(root)
