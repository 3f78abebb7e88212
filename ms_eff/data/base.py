"""What a data set is to the rest of the library: two splits that give whole batches on request."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from ms_eff.data.pictures import as_png
from ms_eff.data.randomness import RngKey

__all__ = ["Batch", "DataSet", "Split", "affine"]

Batch = tuple[NDArray[np.generic], ...]
"""One array per column, each with the batch axis first; the label comes last."""


class Split(ABC):
    """A random-access source of batches.

    Attributes:
        labels: (N,) int32 class of each sample; zeros where there is but one.
        classes: name of each class.
        image_shape: of one sample as the model sees it: (C, H, W); of a clip (T, C, H, W); of a
            text (3, L); of a block of text (L,).
        workers: threads that a batch is worth; in-memory sets need one.
        damaged: samples found unreadable so far and replaced (`data.corrupt: skip`).
        columns: names of the arrays that `batch` returns.
        lengths: (N,) what each sample alone would be padded to, where batches of several lengths
            are possible; else None.
    """

    columns: ClassVar[tuple[str, ...]] = ("image", "label")
    lengths: NDArray[np.int64] | None = None

    def __init__(
        self,
        labels: NDArray[np.int32],
        classes: tuple[str, ...],
        image_shape: tuple[int, ...],
        workers: int = 1,
    ) -> None:
        self.labels = labels
        self.classes = classes
        self.image_shape = image_shape
        self.workers = workers
        self.damaged: set[int] = set()

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def num_classes(self) -> int:
        """Number of classes."""
        return len(self.classes)

    def stand_ins(self, index: int) -> list[int]:
        """Return the samples of the same class: itself, those after it, then from the start.

        In this order they replace a damaged one: shapes and class balance stay, and the choice
        depends on the files alone.
        """
        same = np.flatnonzero(self.labels == self.labels[index])
        return [int(at) for at in np.roll(same, -int(np.searchsorted(same, index)))]

    @abstractmethod
    def batch(self, indices: NDArray[np.int64], key: RngKey | None = None) -> Batch:
        """Return the samples `indices`, in that order.

        Args:
            indices: (B,) sample indices.
            key: (seed, epoch) of the augmentation; None leaves it out (evaluation). What a sample
                looks like depends on the key and its own index only, never on its batch.

        Returns:
            (B, C, H, W) float32 normalised images, or (B, T, C, H, W) clips, and (B,) int32 labels;
            of blocks of text (B, L) int32 ids, and the same ids as labels.
        """

    def cut(self, batch: Batch, length: int) -> Batch:
        """Return a batch at one of the split's `lengths`; only splits that have some are asked."""
        return batch


@dataclass(frozen=True)
class DataSet:
    """A training and a test split of the same classes.

    Attributes:
        task: what a network learns from it: `classification` or `language`; see
            `ms_eff.train.tasks`.
        mean: per channel, in pixel units of 0 to 1: subtracted.
        std: per channel, in pixel units of 0 to 1: divided by.
    """

    task: ClassVar[str] = "classification"

    name: str
    train: Split
    test: Split
    mean: tuple[float, ...]
    std: tuple[float, ...]

    @property
    def num_classes(self) -> int:
        """Number of classes."""
        return self.train.num_classes

    @property
    def classes(self) -> tuple[str, ...]:
        """Name of each class."""
        return self.train.classes

    @property
    def image_shape(self) -> tuple[int, ...]:
        """Shape of one sample as the model sees it; see `Split`."""
        return self.train.image_shape

    def show(self, index: int) -> dict[str, str]:
        """Return a training sample for a report, of a clip its middle frame: `{"png": base64}`."""
        image = self.train.batch(np.array([index]))[0][0]
        if image.ndim == 4:
            image = image[len(image) // 2]
        return {"png": as_png(image, self.mean, self.std)}


def affine(
    mean: tuple[float, ...], std: tuple[float, ...], peak: float
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return (C, 1, 1) scale and shift: `pixels * scale + shift` is the normalised image.

    Args:
        mean: per channel, of pixels scaled to 0 to 1.
        std: per channel, likewise.
        peak: the stored value that stands for 1 (255 for bytes).
    """
    mean_, std_ = np.asarray(mean, np.float64), np.asarray(std, np.float64)
    scale, shift = 1.0 / (peak * std_), -mean_ / std_
    return (
        scale.astype(np.float32).reshape(-1, 1, 1),
        shift.astype(np.float32).reshape(-1, 1, 1),
    )
