"""Which patches of real images a token-skipping network kept, as a picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ms_eff.report.drawing import inline_svg, name_axes, panels
from ms_eff.report.parts import Part

__all__ = ["dimmed", "kept_part"]

# what is left of a dropped patch: faint grey, so that it stands out from every colour
_FAINT, _PAPER = 0.25, 0.55


def kept_part(
    images: NDArray[np.float32],
    names: Sequence[str],
    kept: NDArray[np.integer],
    plan: Mapping[str, Any],
    grid: tuple[int, int],
) -> Part:
    """Return a part of the report: each image, and below it what was kept of it.

    Args:
        images: (B, C, H, W), pixels from 0 to 1.
        names: what each shows.
        kept: (B, K) patches of each that stay, row by row in the image.
        plan: of the route: `patches`, `score_block`, `merge_block`.
        grid: patches in a column and in a row.

    Raises:
        SetupError: matplotlib is not installed.
    """
    figure, axes = panels(len(images), 2, size=(1.3, 1.45))
    shown = [*images, *dimmed(images, kept, grid)]
    for axis, image, name in zip(axes, shown, [*names, *[""] * len(images)], strict=True):
        pixels = image.transpose(1, 2, 0)
        axis.imshow(np.repeat(pixels, 3, 2) if pixels.shape[2] == 1 else pixels)
        name_axes(axis, "", "", title=name)
        axis.set_axis_off()
    first, last = plan["score_block"] + 1, plan["merge_block"] - 1
    blocks = f"block {first}" if first == last else f"blocks {first} to {last}"
    words = (
        f"Test images, and below them the {kept.shape[1]} of {plan['patches']} patches that the "
        f"class token attends to most in block {plan['score_block']}: they go through {blocks}. "
        "Patches in faint grey skip these."
    )
    return Part("Patches that were kept", words, figure=inline_svg(figure))


def dimmed(
    images: NDArray[np.float32], kept: NDArray[np.integer], grid: tuple[int, int]
) -> NDArray[np.float32]:
    """Return the images with all patches but the kept ones in faint grey.

    Args:
        images: (B, C, H, W), pixels from 0 to 1.
        kept: (B, K) indices of patches, row by row.
        grid: patches in a column and in a row; they divide the sides.
    """
    mask = np.zeros((len(images), grid[0] * grid[1]), bool)
    np.put_along_axis(mask, kept, True, axis=1)
    down, across = images.shape[2] // grid[0], images.shape[3] // grid[1]
    mask = mask.reshape(-1, 1, *grid).repeat(down, axis=2).repeat(across, axis=3)
    faint = _FAINT * images.mean(axis=1, keepdims=True) + (1 - _FAINT) * _PAPER
    return np.where(mask, images, faint).astype(np.float32)
