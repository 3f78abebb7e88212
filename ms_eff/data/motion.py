"""Pictures in motion: clips whose label is in the order of their frames and nowhere else; ours.

A picture of CIFAR-10, or a digit, moves across its own frame and comes in again on the other side,
from a start that is uniform over the frame. So a single frame is the picture at a uniform place,
whatever the label. Two tasks:

- `direction`: eight directions at two speeds, 16 classes;
- `reversal`: a picture that speeds up, its frames in order or backwards, 2 classes. Both hold the
  same frames, so that nothing that ignores their order can tell them apart.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ms_eff.data import cifar10, digits
from ms_eff.data.arrays import enlarge
from ms_eff.data.base import Batch, DataSet, Split, affine
from ms_eff.data.order import balanced_subset
from ms_eff.data.randomness import RngKey, Stream, generator
from ms_eff.data.settings import DataSettings

__all__ = ["CLASSES", "DIRECTIONS", "SPEEDS", "MotionSplit", "load", "paths"]

# (down, right), clockwise from the right
DIRECTIONS = ((0, 1), (1, 1), (1, 0), (1, -1), (0, -1), (-1, -1), (-1, 0), (-1, 1))
_NAMES = ("right", "down right", "down", "down left", "left", "up left", "up", "up right")
SPEEDS = (1, 2)  # pixels a frame, of pictures 32 wide
CLASSES = {
    "direction": tuple(f"{name}, {speed} px" for name in _NAMES for speed in SPEEDS),
    "reversal": ("forwards", "backwards"),
}
_SIDE = 32  # that the speeds are meant for
_REACH = 24  # pixels that a picture which speeds up covers


def load(settings: DataSettings) -> DataSet:
    """Return the moving pictures of CIFAR-10 (`motion_cifar10`) or of the digits.

    Raises:
        DataError: CIFAR-10's files are missing or damaged.
    """
    parts, statistics, peak = _pictures(settings)
    mean, std = settings.statistics(*statistics)
    side = parts[0].shape[-1]

    def split(number: int, limit: int | None, key: str) -> MotionSplit:
        task = settings.task or "direction"
        labels = _labels(len(parts[number]), task, number)
        chosen = balanced_subset(labels, limit, key)
        return MotionSplit(
            parts[number][chosen],
            labels[chosen],
            task=task,
            frames=settings.frames or 16,
            mean=mean,
            std=std,
            peak=peak,
            factor=settings.image_size // side,
            number=number,
            workers=settings.workers or 1,
        )

    train = split(0, settings.train_limit, "data.train_limit")
    test = split(1, settings.test_limit, "data.test_limit")
    return DataSet(settings.name, train, test, mean, std)


class MotionSplit(Split):
    """Clips made from pictures batch by batch; nothing but the pictures is kept.

    Training clips start elsewhere in every epoch, test clips always at the same place.

    Args:
        images: (N, C, H, W), any real type, square.
        labels: (N,) classes of the task.
        task: `direction` or `reversal`.
        frames: T.
        mean: per channel, in pixel units of 0 to 1.
        std: likewise.
        peak: the stored value that stands for 1.
        factor: enlarge each picture this many times.
        number: of the split: its clips start elsewhere than the other's.
        workers: threads that share a batch.
    """

    def __init__(
        self,
        images: NDArray[np.generic],
        labels: NDArray[np.int32],
        *,
        task: str,
        frames: int,
        mean: tuple[float, ...],
        std: tuple[float, ...],
        peak: float = 255.0,
        factor: int = 1,
        number: int = 0,
        workers: int = 1,
    ) -> None:
        _, channels, side, _ = images.shape
        self._side = side * factor
        shape = (frames, channels, self._side, self._side)
        super().__init__(np.asarray(labels, np.int32), CLASSES[task], shape, workers)
        self._images, self._factor, self._number = images, factor, number
        self._scale, self._shift = affine(mean, std, peak)
        # where there is no label for it, each clip has a direction of its own
        turns = generator(Stream.MOTION, number, sample=1).integers(0, len(DIRECTIONS), len(labels))
        self._paths = paths(task, self.labels, turns, frames, self._side)

    def batch(self, indices: NDArray[np.int64], key: RngKey | None = None) -> Batch:
        """Return (B, T, C, H, W) float32 clips and (B,) int32 labels; see `Split.batch`."""
        images = np.multiply(self._images[indices], self._scale, dtype=np.float32)
        images += self._shift
        if self._factor > 1:
            images = enlarge(images, self._factor, "bilinear")
        at = self._starts(key)[indices, None] + self._paths[indices]  # (B, T, 2)
        pixels = np.arange(self._side)
        rows = (pixels - at[..., :1]) % self._side  # (B, T, H): which row is shown there
        columns = (pixels - at[..., 1:]) % self._side
        which = np.arange(len(indices))[:, None, None, None]
        clips = images[which, :, rows[..., :, None], columns[..., None, :]]  # (B, T, H, W, C)
        return np.ascontiguousarray(clips.transpose(0, 1, 4, 2, 3)), self.labels[indices]

    def _starts(self, key: RngKey | None) -> NDArray[np.int64]:
        """Return (N, 2): where each clip's picture stands at first, uniform over the frame."""
        address = (self._number, 0, 2) if key is None else (*key, 3)
        rng = generator(Stream.MOTION, address[0], address[1], address[2])
        return rng.integers(0, self._side, (len(self), 2))


def paths(
    task: str, labels: NDArray[np.int32], turns: NDArray[np.int64], frames: int, side: int
) -> NDArray[np.int64]:
    """Return (N, T, 2): how far down and right each picture has come, in pixels.

    Args:
        task: `direction` or `reversal`.
        labels: (N,) classes.
        turns: (N,) directions, for a task whose labels are none.
        frames: T.
        side: of the frame.

    >>> paths("direction", np.array([3], np.int32), np.array([0]), 3, 32)[0].tolist()
    [[0, 0], [2, 2], [4, 4]]
    >>> slow, fast = paths("reversal", np.array([0, 1], np.int32), np.array([0, 0]), 3, 32)
    >>> slow[:, 1].tolist(), fast[:, 1].tolist()
    ([0, 6, 24], [24, 6, 0])
    """
    time = np.arange(frames)
    if task == "direction":
        turns = labels // len(SPEEDS)
        speeds = np.take(SPEEDS, labels % len(SPEEDS)) * side / _SIDE
        reach = np.rint(speeds[:, None] * time).astype(np.int64)
    else:
        up = np.rint(_REACH * side / _SIDE * (time / max(frames - 1, 1)) ** 2).astype(np.int64)
        reach = np.where(labels[:, None] == 0, up, up[::-1])
    return reach[..., None] * np.asarray(DIRECTIONS)[turns][:, None]


def _pictures(
    settings: DataSettings,
) -> tuple[list[NDArray[Any]], tuple[tuple[float, ...], tuple[float, ...]], float]:
    """Return training and test pictures, their mean and deviation, and what stands for 1."""
    if settings.name == "motion_digits":
        pictures, labels = digits.read()
        in_test = digits.test_mask(labels)
        train = pictures[~in_test]
        return [train, pictures[in_test]], digits.statistics_of(train), digits.PEAK
    folder = cifar10.find_folder(Path(settings.root or "."))
    files = (cifar10.train_files(folder), [folder / cifar10.TEST_FILE])
    records = [cifar10.read_records(part)[0] for part in files]
    return records, (cifar10.MEAN, cifar10.STD), 255.0


def _labels(samples: int, task: str, number: int) -> NDArray[np.int32]:
    """Return labels that have nothing to do with the pictures, as many of each as can be."""
    even = np.arange(samples, dtype=np.int32) % len(CLASSES[task])
    return generator(Stream.MOTION, number).permutation(even)
