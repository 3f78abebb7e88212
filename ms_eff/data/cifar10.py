"""CIFAR-10 (Krizhevsky 2009) in the official binary layout.

A file holds records of 3,073 bytes: the label, then 1,024 bytes each of red, green and blue, rows
first. The official files hold 10,000 records each; any whole number is read.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ms_eff.data.arrays import ArraySplit
from ms_eff.data.base import DataSet
from ms_eff.data.order import balanced_subset, held_out
from ms_eff.data.settings import DataSettings
from ms_eff.errors import DataError

__all__ = ["find_folder", "load", "read_records", "train_files"]

SIDE = 32
RECORD = 1 + 3 * SIDE * SIDE
FOLDER = "cifar-10-batches-bin"
TRAIN_FILES = tuple(f"data_batch_{number}.bin" for number in range(1, 6))
TEST_FILE = "test_batch.bin"
NAMES_FILE = "batches.meta.txt"
CLASSES = (
    "airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck",
)  # fmt: skip
# of the 50,000 training images, in pixel units of 0 to 1
MEAN = (0.4914, 0.4822, 0.4465)
STD = (0.2470, 0.2435, 0.2616)

_REMEDY = (
    "unpack the binary version (cifar-10-binary.tar.gz of "
    "https://www.cs.toronto.edu/~kriz/cifar.html) again"
)
_LOG = logging.getLogger(__name__)


def load(settings: DataSettings) -> DataSet:
    """Return CIFAR-10, or as much of its training images as there are files.

    Raises:
        DataError: a file is missing, truncated or holds a label above 9.
    """
    folder = find_folder(Path(settings.root or "."))
    names = class_names(folder)
    mean, std = settings.statistics(MEAN, STD)

    def split(
        files: list[Path],
        choose: Callable[[NDArray[np.int32]], NDArray[np.int64]],
        augment: str = "none",
        cutout: int | None = None,
    ) -> ArraySplit:
        images, labels = read_records(files)
        chosen = choose(labels)
        if len(chosen) < len(labels):  # no copy of what is taken whole
            images, labels = images[chosen], labels[chosen]
        return ArraySplit(
            images,
            labels,
            names,
            mean=mean,
            std=std,
            augment=augment,
            factor=settings.image_size // SIDE,
            interpolation=settings.interpolation or "bilinear",
            cutout=cutout or 0,
            workers=settings.workers or 1,
        )

    files, limits = train_files(folder), (settings.train_limit, settings.test_limit)
    of_train = partial(balanced_subset, limit=limits[0], key="data.train_limit")
    train = split(files, of_train, settings.augment, settings.cutout)
    if settings.test_split == "held_out":
        test = split(files, partial(held_out, train_limit=limits[0], test_limit=limits[1]))
    else:
        of_test = partial(balanced_subset, limit=limits[1], key="data.test_limit")
        test = split([folder / TEST_FILE], of_test)
    return DataSet("cifar10", train, test, mean, std)


def find_folder(root: Path) -> Path:
    """Return the folder with the files: `root` itself or `root/cifar-10-batches-bin`.

    Raises:
        DataError: neither holds `test_batch.bin`.
    """
    for folder in (root, root / FOLDER):
        if (folder / TEST_FILE).exists():
            return folder
    inside = sorted(path.name for path in root.iterdir()) if root.is_dir() else None
    found = "no such folder" if inside is None else ", ".join(inside[:6]) or "an empty folder"
    raise DataError(
        f"data.root: {root}: expected {TEST_FILE} there or in {FOLDER}/, found {found}; {_REMEDY}"
    )


def read_records(files: list[Path]) -> tuple[NDArray[np.uint8], NDArray[np.int32]]:
    """Return (N, 3, 32, 32) bytes and (N,) labels of files read one after the other.

    Raises:
        DataError: a file cannot be read, holds no whole number of records, or a label above 9.
    """
    counts = [_count(file) for file in files]
    images = np.empty((sum(counts), 3, SIDE, SIDE), np.uint8)
    labels = np.empty(sum(counts), np.int32)
    start = 0
    for file, count in zip(files, counts, strict=True):
        records = _read(file, count)
        labels[start : start + count] = records[:, 0]
        images[start : start + count] = records[:, 1:].reshape(-1, 3, SIDE, SIDE)
        start += count
    return images, labels


def class_names(folder: Path) -> tuple[str, ...]:
    """Return the names in `batches.meta.txt`; the published ones where there is no such file.

    Raises:
        DataError: the file does not hold ten names.
    """
    file = folder / NAMES_FILE
    if not file.exists():
        return CLASSES
    names = tuple(file.read_text(encoding="utf-8", errors="replace").split())
    if len(names) != len(CLASSES):
        raise DataError(
            f"{file}: expected {len(CLASSES)} class names, found {len(names)}; {_REMEDY}"
        )
    return names


def train_files(folder: Path) -> list[Path]:
    """Return the files with training images that are there.

    Raises:
        DataError: there is none.
    """
    there = [folder / name for name in TRAIN_FILES if (folder / name).exists()]
    if not there:
        raise DataError(
            f"data.root: {folder}: expected {TRAIN_FILES[0]} to {TRAIN_FILES[-1]}, "
            f"found none of them; {_REMEDY}"
        )
    if len(there) < len(TRAIN_FILES):
        names = ", ".join(file.name for file in there)
        _LOG.warning("%s: %d of 5 training files there: %s", folder, len(there), names)
    return there


def _count(file: Path) -> int:
    size = file.stat().st_size
    if size == 0 or size % RECORD:
        raise DataError(
            f"{file}: expected whole records of {RECORD} bytes (the official files have "
            f"30,730,000 bytes), found {size:,} bytes; {_REMEDY}"
        )
    return size // RECORD


def _read(file: Path, count: int) -> NDArray[np.uint8]:
    try:
        records = np.fromfile(file, np.uint8, count * RECORD).reshape(count, RECORD)
    except OSError as error:
        raise DataError(
            f"{file}: expected a readable file, found: {error.strerror}; check its permissions"
        ) from error
    wrong = np.flatnonzero(records[:, 0] >= len(CLASSES))
    if len(wrong):
        raise DataError(
            f"{file}: expected labels 0 to 9, found {records[wrong[0], 0]} in record {wrong[0]}; "
            f"{_REMEDY}"
        )
    return records
