"""Frames of clips on disk: mp4 and avi files, and folders of pictures, read by OpenCV.

Imports nothing heavy: the functions run in worker processes.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ms_eff.data.randomness import RngKey, Stream, generator
from ms_eff.data.transforms import CROP_RATIO
from ms_eff.errors import DataError, SetupError

__all__ = ["EXTENSIONS", "PICTURES", "ClipPlan", "read_clip", "segment_frames"]

EXTENSIONS = (".mp4", ".avi", ".mov", ".mkv", ".webm")
PICTURES = (".jpg", ".jpeg", ".png", ".bmp", ".webp")
# frames of a file are counted by decoding where its own count is wrong; a stream that has no end
# is not waited for
_MOST = 1_000_000


@dataclass(frozen=True)
class ClipPlan:
    """What to make of a file, the same for all clips of a split.

    Attributes:
        frames: N segments, one frame of each.
        size: side of the square frames.
        augment: `none`, `flip` or `crop_flip`.
    """

    frames: int
    size: int
    augment: str = "none"


def segment_frames(
    count: int, segments: int, rng: np.random.Generator | None = None
) -> NDArray[np.int64]:
    """Return one frame of each of N equal segments (arXiv:1608.00859); of a short clip, some twice.

    Args:
        count: frames of the clip.
        segments: N.
        rng: draws a frame of each segment; None: the one in its middle.

    >>> segment_frames(32, 4).tolist(), segment_frames(3, 6).tolist()
    ([4, 12, 20, 28], [0, 0, 1, 1, 2, 2])
    """
    within = 0.5 if rng is None else rng.random(segments)
    at = (np.arange(segments) + within) * count / segments
    return np.minimum(at.astype(np.int64), count - 1)


def read_clip(path: str, plan: ClipPlan, key: RngKey | None, index: int) -> NDArray[np.uint8]:
    """Return (T, S, S, 3) bytes, RGB.

    Args:
        path: a video file, or a folder of pictures in the order of the numbers in their names.
        plan: what to make of it.
        key: (seed, epoch) of training; None for the middle of everything.
        index: of the sample: what it looks like depends on nothing else.

    Raises:
        DataError: no frame can be read, or one of those wanted cannot.
        SetupError: OpenCV is not installed.
    """
    cv2 = _opencv()
    rng = None if key is None else generator(Stream.SAMPLE, *key, index)
    read = _from_folder if os.path.isdir(path) else _from_file
    frames = read(cv2, path, plan.frames, rng)
    return _cropped(cv2, frames, plan, rng)


def _from_file(
    cv2: Any, path: str, segments: int, rng: np.random.Generator | None
) -> list[NDArray[np.uint8]]:
    """Decode a file from its start: seeking lands beside the frame in too many of them."""
    state: Any = None if rng is None else rng.bit_generator.state
    capture = cv2.VideoCapture(path)
    try:
        count = int(capture.get(cv2.CAP_PROP_FRAME_COUNT)) if capture.isOpened() else 0
        if 0 < count < _MOST:
            found = _decoded(capture, segment_frames(count, segments, rng))
            if len(found) == segments:
                return found
        # the header's number is wrong: count what there is
        capture.release()
        capture = cv2.VideoCapture(path)
        count = 0
        while count < _MOST and capture.grab():
            count += 1
        if count == 0:
            raise DataError(f"{path}: expected a readable video, found no frame in it; {_REMEDY}")
        if rng is not None:
            rng.bit_generator.state = state  # the same numbers for the true length
        capture.release()
        capture = cv2.VideoCapture(path)
        found = _decoded(capture, segment_frames(count, segments, rng))
    finally:
        capture.release()
    if len(found) < segments:
        raise DataError(f"{path}: expected {count} frames, found a damaged one; {_REMEDY}")
    return found


_REMEDY = "repair or remove it, or set data.corrupt=skip"


def _decoded(capture: Any, wanted: NDArray[np.int64]) -> list[NDArray[np.uint8]]:
    """Return the wanted frames, ascending, as far as the stream goes."""
    found: list[NDArray[np.uint8]] = []
    at = -1
    for frame in wanted:
        if at == frame and found:
            found.append(found[-1])
            continue
        while at < frame:
            if not capture.grab():
                return found
            at += 1
        good, pixels = capture.retrieve()
        if not good:
            return found
        found.append(pixels)
    return found


def _from_folder(
    cv2: Any, path: str, segments: int, rng: np.random.Generator | None
) -> list[NDArray[np.uint8]]:
    names = [name for name in os.listdir(path) if name.lower().endswith(PICTURES)]
    names.sort(key=_by_number)
    if not names:
        raise DataError(f"{path}: expected pictures ({', '.join(PICTURES)}), found none; {_REMEDY}")
    found = []
    for at in segment_frames(len(names), segments, rng):
        pixels = cv2.imread(str(Path(path, names[at])), cv2.IMREAD_COLOR)
        if pixels is None:
            raise DataError(f"{path}: frame {names[at]}: expected a picture, found none; {_REMEDY}")
        found.append(pixels)
    return found


def _by_number(name: str) -> tuple[list[str | int], str]:
    """Return what to sort by: as text, frame 10 would come before frame 2.

    >>> sorted(["f10.png", "f2.png", "f1.png"], key=_by_number)
    ['f1.png', 'f2.png', 'f10.png']
    """
    parts = re.split("([0-9]+)", name)  # text at even places, numbers at odd ones
    return [int(part) if at % 2 else part for at, part in enumerate(parts)], name


def _cropped(
    cv2: Any, frames: Sequence[NDArray[np.uint8]], plan: ClipPlan, rng: np.random.Generator | None
) -> NDArray[np.uint8]:
    """Resize the shorter side, crop a square, mirror: all frames of a clip alike."""
    height, width = frames[0].shape[:2]
    short = round(plan.size * CROP_RATIO)
    scale = short / min(height, width)
    wide, tall = (max(short, round(side * scale)) for side in (width, height))
    down, right = (tall - plan.size) // 2, (wide - plan.size) // 2
    mirrored = False
    if rng is not None and plan.augment != "none":
        mirrored = rng.random() < 0.5
        if plan.augment == "crop_flip":
            down = int(rng.integers(0, tall - plan.size + 1))
            right = int(rng.integers(0, wide - plan.size + 1))
    clip = np.empty((len(frames), plan.size, plan.size, 3), np.uint8)
    for out, frame in zip(clip, frames, strict=True):
        resized = cv2.resize(frame, (wide, tall), interpolation=cv2.INTER_LINEAR)
        square = resized[down : down + plan.size, right : right + plan.size, ::-1]  # BGR to RGB
        out[:] = square[:, ::-1] if mirrored else square
    return clip


def _opencv() -> Any:
    try:
        import cv2
    except ImportError as error:
        raise SetupError(
            "opencv: videos are decoded with it, and it is not installed; "
            "`pip install 'ms_eff[video]'`"
        ) from error
    cv2.setNumThreads(0)  # the processes share the cores among themselves
    return cv2
