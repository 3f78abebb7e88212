"""UCF-101 (arXiv:1212.0402) as it is published: class folders of avi files, and split files.

root/UCF-101/<class>/v_*.avi (or the class folders in root itself) and
root/ucfTrainTestlist/{classInd,trainlist01,testlist01, ...}.txt (or these in root).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ms_eff.data.base import DataSet
from ms_eff.data.settings import DataSettings
from ms_eff.data.video import Files, dataset
from ms_eff.errors import DataError

__all__ = ["load", "read_classes", "read_list"]

_VIDEOS, _LISTS = "UCF-101", "ucfTrainTestlist"
_REMEDY = "unpack UCF101.rar and UCF101TrainTestSplits-RecognitionTask.zip there"


def load(settings: DataSettings) -> DataSet:
    """Return one of the three published splits.

    Raises:
        DataError: a file is missing, or names a class or a video that is not there.
        SetupError: OpenCV is not installed.
    """
    root, fold = Path(settings.root or "."), settings.fold or 1
    lists = root / _LISTS if (root / _LISTS).is_dir() else root
    videos = root / _VIDEOS if (root / _VIDEOS).is_dir() else root
    classes = read_classes(lists / "classInd.txt")
    train = read_list(lists / f"trainlist{fold:02d}.txt", videos, classes)
    test = read_list(lists / f"testlist{fold:02d}.txt", videos, classes)
    return dataset(settings, "ucf101", classes, train, test)


def read_classes(path: Path) -> tuple[str, ...]:
    """Return the classes of `classInd.txt`, whose lines are `number name`, from 1 on.

    Raises:
        DataError: the file is missing, or a line is another.
    """
    names = []
    for number, (_, line) in enumerate(_lines(path), start=1):
        words = line.split()
        if len(words) != 2 or words[0] != str(number):
            raise DataError(f"{path}: expected '{number} CLASS', found '{line}'; {_REMEDY}")
        names.append(words[1])
    return tuple(names)


def read_list(path: Path, videos: Path, classes: tuple[str, ...]) -> Files:
    """Return the files and labels of a split file, whose lines are `CLASS/FILE.avi [number]`.

    Raises:
        DataError: the file is missing, or a line names what is not there, or its number is
            another than that of its class.
    """
    numbers = {name: label for label, name in enumerate(classes)}
    paths: list[str] = []
    labels: list[int] = []
    for at, line in _lines(path):
        name, *number = line.split()
        kind = name.partition("/")[0]
        label = numbers.get(kind)
        if label is None:
            raise DataError(f"{path}: '{line}': its class is not in classInd.txt; {_REMEDY}")
        if number and number != [str(label + 1)]:
            raise DataError(
                f"{path}: line {at}: '{line}': classInd.txt gives {kind} the number {label + 1}; "
                f"{_REMEDY}"
            )
        if not (videos / name).exists():
            raise DataError(f"{path}: expected {videos / name}, found no such file; {_REMEDY}")
        paths.append(str(videos / name))
        labels.append(label)
    return paths, np.array(labels, np.int32)


def _lines(path: Path) -> list[tuple[int, str]]:
    """Return the lines that are not empty, with their numbers in the file."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: expected a list of UCF-101, found none; {_REMEDY}") from error
    lines = enumerate(text.splitlines(), start=1)
    return [(at, line.strip()) for at, line in lines if line.strip()]
