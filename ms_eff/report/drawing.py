"""What all plots share: panels, colours, a legend, and SVG whose ink is chosen at the end."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from typing import Any

from ms_eff.errors import SetupError

__all__ = ["INK", "inline_svg", "legend", "name_axes", "panels", "style", "svg_file"]

# mid-tones that stand out from white and from near-black alike, and a marker each
_COLOURS = ("#3b82d6", "#e07b1f", "#2a9d6f", "#b05cc6", "#d1495b", "#7d8597", "#1f9fb3")
_MARKERS = ("o", "s", "^", "D", "v", "P", "X")
# a colour that no series has; it becomes that of the text where the figure goes
INK = "#010203"


def style(index: int) -> dict[str, Any]:
    """Return colour, marker and line of the series of that number, as keywords of `plot`."""
    return {
        "color": _COLOURS[index % len(_COLOURS)],
        "marker": _MARKERS[index % len(_MARKERS)],
        "markersize": 5,
        "linewidth": 1.6,
    }


def panels(
    columns: int, rows: int = 1, size: tuple[float, float] = (4.2, 3.2)
) -> tuple[Any, Sequence[Any]]:
    """Return a figure and its axes, row by row.

    Args:
        columns: panels side by side.
        rows: of panels.
        size: of one panel, width and height in inches.

    Raises:
        SetupError: matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise SetupError(
            "matplotlib: the report's plots need it, and it is not installed; "
            "`pip install 'ms_eff[report]'`"
        ) from error
    figure = Figure(figsize=(size[0] * columns, size[1] * rows), layout="constrained")
    figure.patch.set_alpha(0)
    return figure, figure.subplots(rows, columns, squeeze=False).ravel().tolist()


def name_axes(axis: Any, x: str, y: str, title: str = "") -> None:
    """Name the axes, and the panel if it has a title, in the ink that the writer replaces."""
    if title:
        axis.set_title(title, color=INK, fontsize=8)
    axis.set_xlabel(x, color=INK)
    axis.set_ylabel(y, color=INK)
    axis.patch.set_alpha(0)
    axis.tick_params(colors=INK)
    axis.grid(visible=True, color=INK, alpha=0.15, linewidth=0.7)
    for side, spine in axis.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color(INK)


def legend(figure: Any, axes: Sequence[Any], columns: int | None = None) -> None:
    """Name every series once, above the plots, where no point can lie below it.

    Args:
        figure: what gets the legend.
        axes: whose series to name.
        columns: names in a row; None: all.
    """
    known = {
        name: handle
        for axis in axes
        for handle, name in zip(*axis.get_legend_handles_labels(), strict=True)
    }
    figure.legend(
        known.values(),
        known.keys(),
        loc="outside upper left",
        ncols=columns or len(known),
        frameon=False,
        labelcolor=INK,
    )


def inline_svg(figure: Any) -> str:
    """Return the figure as an SVG element for a page, in the colour of the page's text."""
    # HTML knows both name spaces by itself, and a page without addresses is easily checked
    return re.sub(r' xmlns(:xlink)?="[^"]*"', "", _svg(figure).replace(INK, "currentColor"))


def svg_file(figure: Any) -> str:
    """Return the figure as a file of its own: dark ink on white, for a card in Markdown."""
    figure.patch.set(facecolor="white", alpha=1)
    return _svg(figure).replace(INK, "#24292f")


def _svg(figure: Any) -> str:
    """Return the SVG element, the same for the same figure: no headers, no date."""
    import matplotlib

    stream = io.StringIO()
    nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "ms_eff"}):
        figure.savefig(stream, format="svg", metadata=nothing)
    text = stream.getvalue()
    return text[text.index("<svg") :]
