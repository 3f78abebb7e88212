"""Files that both programs must refuse, and why: (name, content, what each says)."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import numpy as np

from tests.tolerances import EXPORT

SHAPE = (3, 4, 5)


def npy(array: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


GOOD = npy(np.arange(60, dtype=np.float32).reshape(SHAPE))

# name -> content, what C++ says, what Python says
BAD: dict[str, tuple[bytes, str, str]] = {
    "empty": (b"", "ends inside its magic number", "damaged or not .npy"),
    "text": (b"not an array, but long enough", "not a .npy file", "damaged or not .npy"),
    "cut in its header": (GOOD[:40], "ends inside its header", "damaged or not .npy"),
    "cut in its values": (GOOD[:-7], "233 bytes of values, 240 by its header", "damaged"),
    "longer": (GOOD + b"more", "244 bytes of values, 240", "longer than its header says"),
    "float64": (npy(np.zeros(SHAPE)), "type '<f8'", "type float64"),
    "big-endian": (npy(np.zeros(SHAPE, ">f4")), "type '>f4'", "type >f4"),
    "objects": (GOOD.replace(b"'<f4'", b"'|O' "), "type '|O'", "damaged or not .npy"),
    "other shape": (
        npy(np.zeros((3, 5, 4), np.float32)),
        "shape (3, 5, 4), the network takes (3, 4, 5)",
        "shape (3, 5, 4), the network takes (3, 4, 5)",
    ),
    "two samples": (npy(np.zeros((2, *SHAPE), np.float32)), "shape (2, 3, 4, 5)", "shape (2, 3"),
    "columns first": (
        npy(np.asfortranarray(np.zeros(SHAPE, np.float32))), "Fortran order", "Fortran order",
    ),
    "integers": (
        npy(np.zeros(SHAPE, np.int32)), "type int32, the network takes float32", "type int32, the",
    ),
    "not a number": (
        GOOD[:-4] + np.float32(np.nan).tobytes(),
        "NaN or infinite: 1 of 60 values", "NaN or infinite: 1 of 60 values",
    ),
    "infinite": (
        GOOD[:-8] + np.float32([np.inf, -np.inf]).tobytes(),
        "NaN or infinite: 2 of 60 values", "NaN or infinite: 2 of 60 values",
    ),
    "a later format": (GOOD[:6] + b"\x09" + GOOD[7:], "format version 9", "damaged or not .npy"),
    "a huge shape": (
        GOOD.replace(b"(3, 4, 5)", b"(3e9,)   "), "damaged header", "damaged or not .npy",
    ),
    "a dictionary of more": (
        GOOD.replace(b"'descr'", b"'descx'"), "unknown key 'descx'", "damaged or not .npy",
    ),
}  # fmt: skip


def fill(folder: Path, good: int = 2) -> Path:
    """Write all of them, some good ones, a file that is neither, and a folder, which is none."""
    folder.mkdir(parents=True)
    for name, (content, _, _) in BAD.items():
        (folder / f"{name}.npy").write_bytes(content)
    for index in range(good):
        (folder / f"z{index}.npy").write_bytes(GOOD)
    (folder / "notes.txt").write_text("neither")
    (folder / "folder.npy").mkdir()
    return folder


def add_samples(folder: Path) -> np.ndarray:
    """Write six samples, one of them with a batch axis; return them (6, ...)."""
    x = np.random.default_rng(0).standard_normal((6, *SHAPE), dtype=np.float32)
    for index, sample in enumerate(x):
        np.save(folder / f"s{index}.npy", sample[None] if index == 3 else sample)
    return x


def check_predictions(output: Path, whole: Path, expected: np.ndarray, names: list[str]) -> None:
    """Compare a CSV of the best two classes, and whole outputs, with logits (6, classes)."""
    rows = list(csv.DictReader(output.read_text().splitlines()))
    assert [row["file"] for row in rows] == [f"s{index}.npy" for index in range(6)]
    order = np.argsort(-expected, axis=1)
    for row, scores, best in zip(rows, expected, order, strict=True):
        assert [row["class_1"], row["class_2"]] == [names[at] for at in best[:2]]
        found = [float(row["score_1"]), float(row["score_2"])]
        np.testing.assert_allclose(found, scores[best[:2]], atol=EXPORT)
    written = np.stack([np.load(whole / f"s{index}.npy") for index in range(6)])
    np.testing.assert_allclose(written, expected, atol=EXPORT)
