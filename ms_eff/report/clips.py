"""Frames as a network sees them, for the report of a run on clips."""

from __future__ import annotations

import base64
import io
from html import escape

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ms_eff import data
from ms_eff.data.base import DataSet
from ms_eff.data.settings import DataSettings
from ms_eff.errors import UserError
from ms_eff.report.parts import Part

__all__ = ["clip_parts", "strip"]

_CLIPS = 4  # of a class each
_SIDE, _GAP, _LINE = 56, 4, 18  # of a frame in the drawing, between two, and a line of text


def clip_parts(settings: DataSettings) -> list[Part]:
    """Return a part with the sampled frames of some test clips; none where the data are no clips.

    Data that are no longer there do not stop a report: the part says so.
    """
    if settings.frames is None:
        return []
    title = "Sampled frames"
    try:
        return [Part(title, "Test clips as the network sees them.", figure=_figure(settings))]
    except UserError as error:
        return [Part(title, f"Not drawn: {error}")]


def strip(clip: NDArray[np.float32], found: DataSet) -> Image.Image:
    """Return the frames of a normalised clip (T, C, H, W) side by side, in their own colours."""
    statistics = (np.reshape(values, (-1, 1, 1)) for values in (found.std, found.mean))
    std, mean = statistics
    pixels = np.clip((clip * std + mean) * 255.0, 0, 255).astype(np.uint8)
    frames, channels, height, width = pixels.shape
    flat = pixels.transpose(2, 0, 3, 1).reshape(height, frames * width, channels)
    return Image.fromarray(flat if channels == 3 else np.repeat(flat[..., :1], 3, axis=2))


def _figure(settings: DataSettings) -> str:
    found = data.build(settings)
    labels = found.test.labels
    chosen = np.array([np.flatnonzero(labels == label)[0] for label in np.unique(labels)[:_CLIPS]])
    clips, _ = found.test.batch(chosen)
    rows = []
    wide = len(clips[0]) * _SIDE
    for at, (clip, index) in enumerate(zip(clips, chosen, strict=True)):
        top = at * (_SIDE + _LINE + _GAP)
        stream = io.BytesIO()
        strip(clip, found).save(stream, format="PNG")
        picture = base64.b64encode(stream.getvalue()).decode("ascii")
        rows.append(
            f'<text x="0" y="{top + _LINE - 5}" font-size="12">'
            f"{escape(found.classes[labels[index]])}</text>"
            f'<image x="0" y="{top + _LINE}" width="{wide}" height="{_SIDE}" '
            f'preserveAspectRatio="none" href="data:image/png;base64,{picture}"/>'
        )
    tall = len(rows) * (_SIDE + _LINE + _GAP)
    return f'<svg viewBox="0 0 {wide} {tall}" width="{wide}">{"".join(rows)}</svg>'
