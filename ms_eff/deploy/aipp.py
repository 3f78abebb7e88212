"""AIPP: pictures normalised on an Ascend 310 itself; a file for `atc` and `converter_lite`.

With it the converted network takes bytes, as (batch, height, width, channels), and the host neither
converts nor normalises. The fields are those of CANN's AIPP page "Normalization Configuration"
(CANN 8.0.0): `out = (in - mean_chn_i - min_chn_i) * var_reci_chn_i`, for each channel.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ms_eff.errors import ConfigError, SetupError
from ms_eff.files import replacing

__all__ = ["aipp_config", "aipp_values", "write_aipp"]

# channels -> AIPP's name of the layout: packed bytes of red, green and blue, or of grey alone
_LAYOUTS = {3: "RGB888_U8", 1: "YUV400_U8"}
_MOST = 65504.0  # what a factor may be, either way


def aipp_values(mean: float, std: float) -> tuple[float, float]:
    """Return `min_chn` and `var_reci_chn` of one channel; `mean_chn` is 0.

    `(x / 255 - mean) / std = (x - 255 mean) * 1 / (255 std)`. The mean goes into `min_chn`, since
    `mean_chn` takes whole numbers only.

    Args:
        mean: of pixels scaled to 0 to 1.
        std: likewise.

    Raises:
        ConfigError: beyond what the fields take.

    >>> aipp_values(0.5, 0.25)
    (127.5, 0.01568627450980392)
    """
    low, factor = 255.0 * mean, 1.0 / (255.0 * std)
    if not 0.0 <= low <= 255.0:
        raise ConfigError(
            f"data.normalize.mean: {mean:g}; AIPP subtracts 0 to 255, so it must be 0 to 1"
        )
    if not 0.0 < factor <= _MOST:
        raise ConfigError(
            f"data.normalize.std: {std:g}; AIPP multiplies by at most {_MOST:g}; use a larger one"
        )
    return low, factor


def aipp_config(
    mean: Sequence[float], std: Sequence[float], image_shape: Sequence[int], rank: int = 0
) -> str:
    """Return the text of a static AIPP configuration.

    Args:
        mean: per channel, of pixels scaled to 0 to 1.
        std: likewise.
        image_shape: (C, H, W) of a sample as the network sees it.
        rank: which of the network's inputs, from 0.

    Raises:
        ConfigError: samples are no pictures of 1 or 3 channels, or the numbers are out of range.

    >>> print(aipp_config([0.5], [0.25], (1, 8, 8)), end="")
    aipp_op {
      aipp_mode: static
      related_input_rank: 0
      input_format: YUV400_U8
      src_image_size_w: 8
      src_image_size_h: 8
      crop: false
      csc_switch: false
      rbuv_swap_switch: false
      mean_chn_0: 0
      min_chn_0: 127.5
      var_reci_chn_0: 0.0156862745
    }
    """
    if len(image_shape) != 3 or image_shape[0] not in _LAYOUTS or len(mean) != image_shape[0]:
        raise ConfigError(
            f"aipp: samples are {tuple(image_shape)}; AIPP takes pictures (C, H, W) of 1 or 3 "
            "channels: leave it out and normalise on the host"
        )
    channels, height, width = image_shape
    lines = [
        "aipp_mode: static",
        f"related_input_rank: {rank}",
        f"input_format: {_LAYOUTS[channels]}",
        f"src_image_size_w: {width}",
        f"src_image_size_h: {height}",
        "crop: false",
        "csc_switch: false",  # the bytes are RGB already
        "rbuv_swap_switch: false",
    ]
    values = [aipp_values(*pair) for pair in zip(mean, std, strict=True)]
    for name, numbers in (
        ("mean_chn", [0.0] * channels),
        ("min_chn", [low for low, _ in values]),
        ("var_reci_chn", [factor for _, factor in values]),
    ):
        lines += [f"{name}_{channel}: {number:.9g}" for channel, number in enumerate(numbers)]
    return "aipp_op {\n" + "".join(f"  {line}\n" for line in lines) + "}\n"


def write_aipp(
    path: Path, mean: Sequence[float], std: Sequence[float], image_shape: Sequence[int]
) -> Path:
    """Write `aipp_config` to a file, whole or not at all; see there.

    Raises:
        SetupError: the system refuses.
    """
    text = aipp_config(mean, std, image_shape)
    with replacing(path, SetupError, parents=True) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return path
