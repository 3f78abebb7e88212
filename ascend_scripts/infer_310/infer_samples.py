"""A folder's files as samples of a network; part of infer.py."""

from __future__ import annotations

import os

import numpy as np

__all__ = ["DTYPES", "BadFile", "UserError", "files_of", "read_sample"]

PICTURES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".ppm", ".tif", ".tiff")
DTYPES = ("float32", "float16", "uint8", "int32", "int64")


class UserError(ValueError):
    """A mistake in flags, folder or model; the message names it and its remedy."""


class BadFile(ValueError):  # noqa: N818 (the file is bad, not the program)
    """One input file that cannot be used; the message is the reason."""


def files_of(folder: str) -> tuple[list[str], int]:
    """Return the names of a folder's samples, sorted, and how many other files there are."""
    try:
        entries = [entry for entry in os.scandir(folder) if not entry.is_dir()]
    except OSError as error:
        raise UserError(f"--input {folder}: {error.strerror}; give a readable folder") from error
    # reading a pipe would wait for ever; a link that leads nowhere is a bad file
    names = [e.name for e in entries if e.is_file() or not os.path.exists(e.path)]
    samples = sorted(n for n in names if n.endswith(".npy") or n.lower().endswith(PICTURES))
    if not samples:
        raise UserError(f"--input {folder}: no .npy file and no picture in it")
    return samples, len(entries) - len(samples)


def read_sample(
    path: str, shape: tuple[int, ...], dtype: str, mean: list[float], std: list[float]
) -> np.ndarray:
    """Return one sample of that shape and type; bytes become (x / 255 - mean) / std.

    Raises:
        BadFile: unreadable, or of another shape or type.
    """
    array = _picture(path, shape) if path.lower().endswith(PICTURES) else _npy(path)
    if array.shape not in (shape, (1, *shape)):
        raise BadFile(f"shape {array.shape}, the network takes {shape}")
    array = array.reshape(shape)
    if array.dtype == dtype:
        return array
    if not dtype.startswith("float") or array.dtype not in (np.uint8, np.float32):
        raise BadFile(f"type {array.dtype}, the network takes {dtype}")
    if array.dtype == np.uint8:
        array = _normalised(array, np.array(mean), np.array(std))
    return array.astype(dtype)


def _normalised(array: np.ndarray, mean: np.ndarray, std: np.ndarray) -> np.ndarray:
    channels = max(mean.size, std.size)
    if channels > 1:
        axes = [a for a in (-3, -1) if array.ndim >= 3 and array.shape[a] == channels]
        if not axes:
            raise BadFile(f"shape {array.shape}, and --mean and --std are for {channels} channels")
        along = [1] * array.ndim
        along[axes[0]] = -1
        mean, std = (v.reshape(along) if v.size > 1 else v for v in (mean, std))
    return ((array / 255.0 - mean) / std).astype(np.float32)


def _npy(path: str) -> np.ndarray:
    try:
        with open(path, "rb") as file:
            array = np.lib.format.read_array(file, allow_pickle=False)
            if file.read(1):
                raise BadFile("longer than its header says")
    except OSError as error:
        raise BadFile(error.strerror or str(error)) from error
    except BadFile:
        raise
    except Exception as error:  # a damaged header raises whatever its parser met
        raise BadFile(f"damaged or not .npy: {str(error).splitlines()[0]}") from error
    if not array.flags.c_contiguous:
        raise BadFile("Fortran order; save it with numpy.ascontiguousarray")
    if str(array.dtype) not in DTYPES or array.dtype == np.float16:
        raise BadFile(f"type {array.dtype}; save it as float32, uint8, int32 or int64")
    return array


def _picture(path: str, shape: tuple[int, ...]) -> np.ndarray:
    last = len(shape) == 3 and shape[2] in (1, 3) and shape[0] not in (1, 3)
    if len(shape) != 3 or shape[2 if last else 0] not in (1, 3):
        raise BadFile(f"a picture, and the network takes samples of {shape}")
    height, width = shape[:2] if last else shape[1:]
    try:
        from PIL import Image
    except ImportError as error:
        raise BadFile("a picture, and Pillow is not installed; give .npy, or install it") from error
    try:
        with Image.open(path) as file:
            picture = file.convert("RGB" if 3 in (shape[0], shape[2]) else "L")
    except Exception as error:  # Pillow raises half a dozen kinds for damaged files
        raise BadFile(f"cannot be decoded: {str(error).splitlines()[0]}") from error
    if height == width:  # shorter side to 256/224 of the square's, then the middle
        ratio = round(height * 256 / 224) / min(picture.size)
        size = [max(height, int(side * ratio)) for side in picture.size]
        picture = picture.resize(size, Image.BILINEAR)
        left, top = (round((side - height) / 2) for side in size)
        picture = picture.crop((left, top, left + width, top + height))
    else:
        picture = picture.resize((width, height), Image.BILINEAR)
    pixels = np.asarray(picture).reshape(height, width, -1)
    return pixels if last else np.ascontiguousarray(pixels.transpose(2, 0, 1))
