"""A folder's files as samples of a network; part of infer.py."""

from __future__ import annotations

import os

import numpy as np

__all__ = ["DTYPES", "BadFile", "UserError", "check_normalize", "files_of", "read_sample"]

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
        raise UserError(
            f"--input {folder}: {error.strerror}; give a folder that can be read"
        ) from error
    # reading a pipe would wait for ever; a link that leads nowhere is a bad file
    names = [e.name for e in entries if e.is_file() or not os.path.exists(e.path)]
    samples = sorted(n for n in names if n.endswith(".npy") or n.lower().endswith(PICTURES))
    if not samples:
        raise UserError(
            f"--input {folder}: no .npy file and no picture in it (subfolders are not read)"
        )
    return samples, len(entries) - len(samples)


def check_normalize(
    mean: list[float], std: list[float], shape: tuple[int, ...], dtype: str
) -> None:
    """Raise UserError if --mean and --std do not go with samples of that shape and type."""
    channels = max(len(mean), len(std))
    if (channels > 1 or mean != [0] or std != [1]) and not dtype.startswith("float"):
        raise UserError(f"--mean and --std: the network takes {dtype} as it comes; leave them out")
    if channels > 1 and _channel_axis(shape, channels) is None:
        raise UserError(
            f"--mean and --std: for {channels} channels, and the network takes samples of {shape}; "
            "give one number, or one a channel"
        )


def read_sample(
    path: str, shape: tuple[int, ...], dtype: str, mean: list[float], std: list[float]
) -> np.ndarray:
    """Return one sample of that shape and type; bytes become (x / 255 - mean) / std.

    Raises:
        BadFile: unreadable, of another shape or type, or with values that are not finite in it.
    """
    array = _picture(path, shape) if path.lower().endswith(PICTURES) else _npy(path)
    if array.shape not in (shape, (1, *shape)):
        raise BadFile(f"shape {array.shape}, the network takes {shape}")
    array = array.reshape(shape)
    if array.dtype not in ((np.uint8, np.float32) if dtype.startswith("float") else (dtype,)):
        raise BadFile(f"type {array.dtype}, the network takes {dtype}")
    if not dtype.startswith("float"):
        return array
    if array.dtype == np.uint8:
        array = _normalised(array, np.array(mean), np.array(std))
    else:
        _check_finite(array, "NaN or infinite")
    with np.errstate(over="ignore"):  # counted below
        array = array.astype(dtype)
    _check_finite(array, f"too large for {dtype}")
    return array


def _check_finite(array: np.ndarray, what: str) -> None:
    wrong = array.size - np.count_nonzero(np.isfinite(array))
    if wrong:
        raise BadFile(f"{what}: {wrong} of {array.size} values")


def _channel_axis(shape: tuple[int, ...], channels: int) -> int | None:
    """Return the third axis from the end (NCHW, and clips T, C, H, W), or the last (NHWC)."""
    axes = [axis for axis in (-3, -1) if len(shape) >= 3 and shape[axis] == channels]
    return axes[0] if axes else None


def _normalised(array: np.ndarray, mean: np.ndarray, std: np.ndarray) -> np.ndarray:
    channels = max(mean.size, std.size)
    if channels > 1:
        along = [1] * array.ndim
        along[_channel_axis(array.shape, channels)] = -1
        mean, std = (v.reshape(along) if v.size > 1 else v for v in (mean, std))
    with np.errstate(over="ignore"):
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
