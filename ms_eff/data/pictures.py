"""A sample as a small picture for a report."""

from __future__ import annotations

import base64
import io

import numpy as np

__all__ = ["as_png"]


def as_png(image: np.ndarray, mean: tuple[float, ...], std: tuple[float, ...]) -> str:
    """Return a normalised image (C, H, W) as PNG in base64; one channel is grey, three are RGB.

    Args:
        image: as a network sees it.
        mean: per channel, in units of 0 to 1, that was subtracted.
        std: likewise, that was divided by.

    >>> as_png(np.zeros((1, 2, 2)), (0.5,), (0.25,))[:11]
    'iVBORw0KGgo'
    """
    from PIL import Image

    scale, shift = (np.asarray(values).reshape(-1, 1, 1) for values in (std, mean))
    pixels = (np.clip(image * scale + shift, 0, 1) * 255).round().astype(np.uint8)
    channels = pixels.transpose(1, 2, 0) if len(pixels) == 3 else pixels[0]
    stream = io.BytesIO()
    Image.fromarray(channels).save(stream, "PNG")
    return base64.b64encode(stream.getvalue()).decode("ascii")
