"""Real video files: a bright square that goes to the right or to the left."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

CLASSES = ("left", "right")
FRAMES, HEIGHT, WIDTH, SIDE = 8, 24, 32, 8
BROKEN = b"no video at all"


def write(path: Path, right: bool, row: int) -> None:
    """Write one clip, in the codec that its name stands for."""
    import cv2

    path.parent.mkdir(parents=True, exist_ok=True)
    code = cv2.VideoWriter_fourcc(*("MJPG" if path.suffix == ".avi" else "mp4v"))
    writer = cv2.VideoWriter(str(path), code, 10, (WIDTH, HEIGHT))
    assert writer.isOpened(), path
    for at in range(FRAMES):
        column = 3 * (at if right else FRAMES - 1 - at)
        pixels = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
        pixels[row : row + SIDE, column : column + SIDE] = 255
        writer.write(pixels)
    writer.release()


def class_folders(root: Path, train: int, test: int, broken: Sequence[str]) -> None:
    """Write so many clips a class, avi and mp4 in turns, and what is no video over some."""
    for part, count in (("train", train), ("val", test)):
        for name in CLASSES:
            for at in range(count):
                file = f"{at}{('.avi', '.mp4')[at % 2]}"
                write(root / part / name / file, name == "right", 2 * at)
    for name in broken:
        assert (root / name).exists()
        (root / name).write_bytes(BROKEN)


def ucf101(root: Path, train: int, test: int, broken: Sequence[str]) -> None:
    """Write the same as UCF-101 is published: groups 1 and up for training, then those of tests."""
    lists = root / "ucfTrainTestlist"
    lists.mkdir(parents=True)
    (lists / "classInd.txt").write_text("1 left\n2 right\n")
    lines: dict[str, list[str]] = {"train": [], "test": []}
    for label, name in enumerate(CLASSES, start=1):
        for at in range(train + test):
            file = f"{name}/v_{name}_g{at + 1:02d}_c01.avi"
            write(root / "UCF-101" / file, name == "right", 2 * at)
            part = "train" if at < train else "test"
            lines[part].append(f"{file} {label}" if part == "train" else file)
    for part, names in lines.items():
        (lists / f"{part}list01.txt").write_text("\n".join(names) + "\n")
    for name in broken:
        assert (root / "UCF-101" / name).exists()
        (root / "UCF-101" / name).write_bytes(BROKEN)
