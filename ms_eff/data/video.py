"""Videos in folders: root/train/<class>/ with files, or with folders of frames, and root/val.

Clips are decoded by worker processes while the network trains: the pipeline asks for batches ahead,
and each batch's clips are shared out among the processes.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import threading
import weakref
from collections.abc import Iterator
from concurrent.futures import BrokenExecutor, Executor, ProcessPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ms_eff.data.base import Batch, DataSet, Split, affine
from ms_eff.data.clip_files import EXTENSIONS, PICTURES, ClipPlan, read_clip
from ms_eff.data.image_folder import MEAN, STD, same_classes, test_folder
from ms_eff.data.order import balanced_subset
from ms_eff.data.randomness import RngKey
from ms_eff.data.settings import DataSettings
from ms_eff.errors import DataError, SetupError

__all__ = ["VideoSplit", "dataset", "find_clips", "load"]

_LOG = logging.getLogger(__name__)
_LAYOUT = "root/train/<class>/ and root/val/<class>/ with video files or folders of frames"
_KILLED = (
    "data.workers: a process that decodes videos was killed; if memory ran out, set fewer, or "
    "data.workers=0"
)


def load(settings: DataSettings) -> DataSet:
    """Return the videos under `settings.root`.

    Raises:
        DataError: a folder is missing or empty, or the splits have different classes.
        SetupError: OpenCV is not installed.
    """
    root = Path(settings.root or ".")
    folders = (root / "train", test_folder(root))
    classes = same_classes(*folders, _LAYOUT)
    splits = []
    for folder in folders:
        paths: list[str] = []
        labels: list[int] = []
        for label, name in enumerate(classes):
            found = find_clips(folder / name)
            paths += found
            labels += [label] * len(found)
        splits.append((paths, np.array(labels, np.int32)))
    return dataset(settings, "video_folder", classes, *splits)


def find_clips(folder: Path) -> list[str]:
    """Return the clips of a class: video files, and folders that hold pictures, by name.

    Raises:
        DataError: there is none.
    """
    found = []
    for entry in sorted(folder.iterdir()):
        if entry.is_dir():
            inside = any(name.lower().endswith(PICTURES) for name in os.listdir(entry))
        else:
            inside = entry.name.lower().endswith(EXTENSIONS)
        found += [str(entry)] if inside else []
    if not found:
        raise DataError(
            f"{folder}: expected videos ({', '.join(EXTENSIONS)}) or folders of frames, found none;"
            " add some or remove the folder from both splits"
        )
    return found


Files = tuple[list[str], NDArray[np.int32]]


def dataset(
    settings: DataSettings, name: str, classes: tuple[str, ...], train: Files, test: Files
) -> DataSet:
    """Return a data set of files and labels; the test clips are not augmented."""
    mean, std = settings.statistics(MEAN, STD)
    limits = (settings.train_limit, settings.test_limit)
    made = [
        _split(settings, files, classes, limit, key, augment)
        for files, limit, key, augment in (
            (train, limits[0], "data.train_limit", settings.augment),
            (test, limits[1], "data.test_limit", "none"),
        )
    ]
    return DataSet(name, made[0], made[1], mean, std)


def _split(
    settings: DataSettings,
    files: Files,
    classes: tuple[str, ...],
    limit: int | None,
    key: str,
    augment: str,
) -> VideoSplit:
    """Return one split of files and labels."""
    paths, labels = files
    chosen = balanced_subset(labels, limit, key)
    mean, std = settings.statistics(MEAN, STD)
    workers = settings.workers
    return VideoSplit(
        [paths[index] for index in chosen],
        labels[chosen],
        classes,
        plan=ClipPlan(settings.frames or 16, settings.image_size, augment),
        mean=mean,
        std=std,
        skip_damaged=settings.corrupt == "skip",
        processes=(os.cpu_count() or 1) if workers is None else workers,
    )


class VideoSplit(Split):
    """Clips decoded on request.

    A damaged clip is an error, or, with `skip_damaged`, replaced by the next readable one of its
    class; it is noted in `damaged` and logged once.

    Args:
        paths: (N) files or folders of frames.
        labels: (N,) classes.
        classes: name of each class.
        plan: frames, size and augmentation.
        mean: per channel, in pixel units of 0 to 1.
        std: likewise.
        skip_damaged: replace damaged clips instead of raising.
        processes: that decode; 0: this one.
    """

    def __init__(
        self,
        paths: list[str],
        labels: NDArray[np.int32],
        classes: tuple[str, ...],
        *,
        plan: ClipPlan,
        mean: tuple[float, ...] = MEAN,
        std: tuple[float, ...] = STD,
        skip_damaged: bool = False,
        processes: int = 0,
    ) -> None:
        super().__init__(labels, classes, (plan.frames, 3, plan.size, plan.size), 1)
        self.paths = paths
        self._plan, self._skip, self._processes = plan, skip_damaged, processes
        self._scale, self._shift = affine(mean, std, 255.0)
        self._pool: Executor | None = None
        self._lock = threading.Lock()  # threads that share a batch ask at once

    def batch(self, indices: NDArray[np.int64], key: RngKey | None = None) -> Batch:
        """Return (B, T, 3, S, S) float32 clips and (B,) int32 labels; see `Split.batch`.

        Raises:
            DataError: a clip is damaged (or, with `skip_damaged`, all of its class are).
        """
        clips = np.empty((len(indices), *self.image_shape), np.float32)
        for clip, pixels in zip(clips, self._decoded(indices, key), strict=True):
            np.multiply(pixels.transpose(0, 3, 1, 2), self._scale, out=clip)
            clip += self._shift
        return clips, self.labels[indices]

    def _decoded(
        self, indices: NDArray[np.int64], key: RngKey | None
    ) -> Iterator[NDArray[np.uint8]]:
        if self._processes == 0:
            for index in indices:
                yield self._clip(int(index), key, None)
            return
        pool = self._workers()
        try:
            waiting = [
                pool.submit(read_clip, self.paths[index], self._plan, key, int(index))
                for index in indices
            ]
        except BrokenExecutor as error:  # since the last batch
            raise SetupError(_KILLED) from error
        for index, future in zip(indices, waiting, strict=True):
            yield self._clip(int(index), key, future.exception() or future.result())

    def _clip(
        self, index: int, key: RngKey | None, found: NDArray[np.uint8] | BaseException | None
    ) -> NDArray[np.uint8]:
        """Return a clip that was decoded, decode it, or find what stands in for it."""
        if isinstance(found, np.ndarray):
            return found
        if isinstance(found, BrokenExecutor):
            raise SetupError(_KILLED) from found
        if isinstance(found, BaseException) and not (self._skip and isinstance(found, DataError)):
            raise found
        if not self._skip:
            return read_clip(self.paths[index], self._plan, key, index)
        for candidate in self.stand_ins(index):
            if candidate in self.damaged:
                continue
            try:
                # under the damaged one's own address: the choice depends on the files alone
                return read_clip(self.paths[candidate], self._plan, key, index)
            except DataError as error:
                self.damaged.add(candidate)
                _LOG.warning("skipped (%d so far): %s", len(self.damaged), error)
        raise DataError(
            f"{os.path.dirname(self.paths[index])}: expected readable videos of class "
            f"'{self.classes[self.labels[index]]}', found all of them damaged; get the class again"
        )

    def _workers(self) -> Executor:
        """Return the processes, started when the first batch is asked for.

        They are started anew, not forked: MindSpore's threads would not survive in them.
        """
        with self._lock:
            if self._pool is None:
                context = multiprocessing.get_context("spawn")
                try:
                    self._pool = ProcessPoolExecutor(self._processes, mp_context=context)
                except OSError as error:  # its semaphores are files there
                    raise SetupError(
                        f"/dev/shm: processes that decode videos cannot be started: "
                        f"{error.strerror}; make room there, or set data.workers=0"
                    ) from error
                # when the split goes, or the interpreter ends
                weakref.finalize(self, self._pool.shutdown, wait=False, cancel_futures=True)
            return self._pool
