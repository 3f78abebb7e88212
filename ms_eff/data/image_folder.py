"""Folders of pictures in ImageNet's layout: root/train/<class>/*.jpg and root/val or root/test.

Pictures are decoded when their batch is asked for. PIL decodes and resizes without holding Python's
lock, so threads share a batch: no process is forked, nothing goes through /dev/shm.
"""

from __future__ import annotations

import logging
import os
import struct
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ms_eff.data.base import Batch, DataSet, Split, affine
from ms_eff.data.order import balanced_subset
from ms_eff.data.randomness import RngKey, Stream, generator
from ms_eff.data.settings import DataSettings
from ms_eff.data.transforms import (
    centre_crop,
    crop_at_random,
    random_resized_box,
    resize_for_crop,
)
from ms_eff.errors import DataError

__all__ = ["FolderSplit", "load", "same_classes", "scan", "test_folder"]

EXTENSIONS = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".ppm", ".tif", ".tiff", ".gif")
TEST_FOLDERS = ("val", "test")
_LAYOUT = "root/train/<class>/*.jpg and root/val/<class>/*.jpg"
# of ImageNet's training images, in pixel units of 0 to 1
MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)
# what PIL raises for damaged files, besides OSError
_DAMAGE = (OSError, ValueError, SyntaxError, EOFError, struct.error, Image.DecompressionBombError)

_LOG = logging.getLogger(__name__)


def load(settings: DataSettings) -> DataSet:
    """Return the pictures under `settings.root`.

    Raises:
        DataError: a folder is missing or empty, or the splits have different classes.
    """
    root = Path(settings.root or ".")
    folders = (root / "train", test_folder(root))
    classes = same_classes(*folders)
    mean, std = settings.statistics(MEAN, STD)

    def split(folder: Path, augment: str, limit: int | None, key: str) -> FolderSplit:
        paths, labels = scan(folder, classes)
        chosen = balanced_subset(labels, limit, key)
        return FolderSplit(
            [paths[index] for index in chosen],
            labels[chosen],
            classes,
            image_size=settings.image_size,
            augment=augment,
            mean=mean,
            std=std,
            skip_damaged=settings.corrupt == "skip",
            workers=settings.workers or os.cpu_count() or 1,
        )

    train = split(folders[0], settings.augment, settings.train_limit, "data.train_limit")
    test = split(folders[1], "none", settings.test_limit, "data.test_limit")
    return DataSet("image_folder", train, test, mean, std)


def scan(folder: Path, classes: tuple[str, ...]) -> tuple[list[str], NDArray[np.int32]]:
    """Return the pictures of each class folder, sorted by class and name, and their labels.

    Raises:
        DataError: a class has no picture.
    """
    paths: list[str] = []  # as Path objects, ImageNet would take 250 MB more
    labels: list[int] = []
    for label, name in enumerate(classes):
        with os.scandir(folder / name) as entries:
            files = sorted(e.name for e in entries if e.name.lower().endswith(EXTENSIONS))
        if not files:
            raise DataError(
                f"{folder / name}: expected pictures ({', '.join(EXTENSIONS)}), found none; "
                "add some or remove the folder from both splits"
            )
        paths += [os.path.join(folder, name, file) for file in files]
        labels += [label] * len(files)
    return paths, np.array(labels, np.int32)


class FolderSplit(Split):
    """Pictures decoded on request.

    A damaged picture is an error, or, with `skip_damaged`, replaced by the next readable picture of
    its class under the damaged one's own augmentation: shapes and class balance stay, and the
    choice depends on the files alone. It is noted in `damaged` and logged once.

    Args:
        paths: (N) files.
        labels: (N,) classes.
        classes: name of each class.
        image_size: side of the square input.
        augment: `none`, `flip`, `crop_flip` or `imagenet`; see `DataSettings`.
        mean: per channel, in pixel units of 0 to 1.
        std: likewise.
        skip_damaged: replace damaged pictures instead of raising.
        workers: threads that share a batch.
    """

    def __init__(
        self,
        paths: list[str],
        labels: NDArray[np.int32],
        classes: tuple[str, ...],
        *,
        image_size: int,
        augment: str = "none",
        mean: tuple[float, ...] = MEAN,
        std: tuple[float, ...] = STD,
        skip_damaged: bool = False,
        workers: int = 1,
    ) -> None:
        super().__init__(labels, classes, (3, image_size, image_size), workers)
        self.paths = paths
        self._size = image_size
        self._augment = augment
        self._scale, self._shift = affine(mean, std, 255.0)
        self._skip_damaged = skip_damaged

    def batch(self, indices: NDArray[np.int64], key: RngKey | None = None) -> Batch:
        """Return (B, 3, S, S) float32 images and (B,) int32 labels; see `Split.batch`.

        Raises:
            DataError: a picture is damaged (or, with `skip_damaged`, all of its class are).
        """
        images = np.empty((len(indices), *self.image_shape), np.float32)
        for image, index in zip(images, indices, strict=True):
            pixels = self._picture(int(index), key)
            np.multiply(pixels.transpose(2, 0, 1), self._scale, out=image)
            image += self._shift
        return images, self.labels[indices]

    def _picture(self, index: int, key: RngKey | None) -> NDArray[np.uint8]:
        """Return (S, S, 3) bytes of a sample, or of the one that stands in for it."""
        rng = generator(Stream.SAMPLE, *key, index) if key is not None else None
        if not self._skip_damaged:
            return self._decode(index, rng)
        for candidate in self.stand_ins(index):
            if candidate in self.damaged:
                continue
            try:
                return self._decode(candidate, rng)  # a failed try draws nothing
            except DataError as error:
                self.damaged.add(candidate)
                _LOG.warning("skipped: %s", error)
        name = self.classes[self.labels[index]]
        raise DataError(
            f"{os.path.dirname(self.paths[index])}: expected readable pictures of class '{name}', "
            "found all of them damaged; get the class again"
        )

    def _decode(self, index: int, rng: np.random.Generator | None) -> NDArray[np.uint8]:
        path = self.paths[index]
        try:
            with Image.open(path) as file:
                picture = file.convert("RGB")
        except _DAMAGE as error:
            raise DataError(
                f"{path}: expected a readable picture, found: {_reason(error)}; "
                "repair or remove it, or set data.corrupt=skip"
            ) from error
        return np.asarray(self._transform(picture, rng))

    def _transform(self, picture: Image.Image, rng: np.random.Generator | None) -> Image.Image:
        if rng is None or self._augment == "none":
            return centre_crop(resize_for_crop(picture, self._size), self._size)
        if self._augment == "imagenet":
            box = random_resized_box(*picture.size, rng)
            side = (self._size, self._size)
            picture = picture.crop(box).resize(side, Image.Resampling.BILINEAR)
        elif self._augment == "crop_flip":
            picture = crop_at_random(resize_for_crop(picture, self._size), self._size, rng)
        else:
            picture = centre_crop(resize_for_crop(picture, self._size), self._size)
        if rng.random() < 0.5:
            picture = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        return picture


def _reason(error: BaseException) -> str:
    system = getattr(error, "strerror", None)  # "No such file or directory", without the path again
    return system or f"{type(error).__name__}: {error}".splitlines()[0]


def test_folder(root: Path) -> Path:
    """Return root/val, or else root/test."""
    for name in TEST_FOLDERS:
        if (root / name).is_dir():
            return root / name
    return root / TEST_FOLDERS[0]  # named in the error of whoever looks into it


def same_classes(train: Path, test: Path, layout: str = _LAYOUT) -> tuple[str, ...]:
    """Return the names of the class folders, sorted.

    Args:
        train: the folder of a split.
        test: of the other.
        layout: in words, for errors.

    Raises:
        DataError: a folder is missing, has fewer than 2 classes, or not those of the other.
    """
    found = [_class_folders(folder, layout) for folder in (train, test)]
    for one, other, at in ((found[0], found[1], test), (found[1], found[0], train)):
        missing = sorted(set(one) - set(other))
        if missing:
            raise DataError(
                f"{at}: expected the same classes as in the other split, found no folder for "
                f"{len(missing)} of them ({', '.join(missing[:3])}); both splits need every class"
            )
    return tuple(found[0])


def _class_folders(folder: Path, layout: str) -> list[str]:
    if not folder.is_dir():
        raise DataError(
            f"data.root: expected the folder {folder}, found none; the layout is {layout}"
        )
    names = sorted(path.name for path in folder.iterdir() if path.is_dir())
    if len(names) < 2:
        raise DataError(
            f"{folder}: expected at least 2 class folders, found {len(names)}; the layout is "
            f"{layout}"
        )
    return names
