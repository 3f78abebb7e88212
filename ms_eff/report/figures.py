"""Plots as inline SVG whose ink follows the page's text colour, in light and in dark."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from typing import Any

from ms_eff.errors import SetupError

__all__ = ["curves", "label_axis", "new_figure", "svg", "trade_off"]

# mid-tones that stand out from white and from near-black alike, and a marker each
_COLOURS = ("#3b82d6", "#e07b1f", "#2a9d6f", "#b05cc6", "#d1495b", "#7d8597")
_MARKERS = ("o", "s", "^", "D", "v", "P")
_INK = "#010203"  # a colour nobody draws with, replaced by the page's

Stages = Mapping[str, Mapping[str, Any]]


def curves(stages: Stages) -> str | None:
    """Plot loss and accuracy over the epochs of each stage; None if no stage has a curve."""
    panels = [
        (key, title)
        for key, title in (("train_loss", "training loss"), ("accuracy", "test accuracy, %"))
        if any(_series(stage, key) for stage in stages.values())
    ]
    if not panels:
        return None
    figure, axes = new_figure(len(panels))
    for axis, (key, title) in zip(axes, panels, strict=True):
        for index, (name, stage) in enumerate(stages.items()):
            points = _series(stage, key)
            if points:
                scale = 100 if key == "accuracy" else 1
                axis.plot(
                    [epoch for epoch, _ in points],
                    [scale * value for _, value in points],
                    **_style(index),
                    label=name,
                )
        label_axis(axis, "epoch of its stage", title)
    _legend(figure, axes)
    return svg(figure)


def trade_off(stages: Stages) -> str | None:
    """Plot accuracy against parameters, MACs and latency; None if no stage has both."""
    kinds = [
        (label, [(name, *point) for name, stage in stages.items() if (point := place(stage))])
        for label, place in (
            ("parameters, millions", _by_count("params", 1e6)),
            ("MACs, millions", _by_count("macs", 1e6)),
            ("forward latency, ms (p10 to p90)", _by_latency),
        )
    ]
    kinds = [(label, points) for label, points in kinds if points]
    if not kinds:
        return None
    figure, axes = new_figure(len(kinds))
    order = list(stages)
    for axis, (label, points) in zip(axes, kinds, strict=True):
        for name, accuracy, value, spread in points:
            axis.errorbar(
                [value], [accuracy], xerr=spread, capsize=3, **_style(order.index(name)), label=name
            )
        axis.margins(0.15, 0.2)
        axis.set_xlim(left=0)
        axis.set_ylim(top=min(axis.get_ylim()[1], 100.5))
        label_axis(axis, label, "test accuracy, %")
    _legend(figure, axes)
    return svg(figure)


def _series(stage: Mapping[str, Any], key: str) -> list[tuple[int, float]]:
    curve = stage.get("curve") or []
    return [(point["epoch"], point[key]) for point in curve if point.get(key) is not None]


def _by_count(key: str, unit: float) -> Any:
    def place(stage: Mapping[str, Any]) -> tuple[float, float, None] | None:
        if stage.get("accuracy") is None or stage.get(key) is None:
            return None
        return 100 * stage["accuracy"], stage[key] / unit, None

    return place


def _by_latency(stage: Mapping[str, Any]) -> tuple[float, float, Any] | None:
    taken = (stage.get("latency") or {}).get("forward")
    if stage.get("accuracy") is None or not taken:
        return None
    median = taken["median_ms"]
    below, above = median - taken["p10_ms"], taken["p90_ms"] - median
    return 100 * stage["accuracy"], median, [[below], [above]]


def _style(index: int) -> dict[str, Any]:
    return {
        "color": _COLOURS[index % len(_COLOURS)],
        "marker": _MARKERS[index % len(_MARKERS)],
        "markersize": 5,
        "linewidth": 1.6,
    }


def new_figure(
    columns: int, rows: int = 1, size: tuple[float, float] = (4.2, 3.2)
) -> tuple[Any, Sequence[Any]]:
    """Return an empty figure and its panels, row by row; `size` is one panel's, in inches.

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


def label_axis(axis: Any, x: str, y: str, title: str = "") -> None:
    """Name a panel's axes, and the panel, in the page's ink."""
    axis.set_xlabel(x, color=_INK)
    if title:
        axis.set_title(title, color=_INK, fontsize=8)
    axis.set_ylabel(y, color=_INK)
    axis.patch.set_alpha(0)
    axis.tick_params(colors=_INK)
    axis.grid(visible=True, color=_INK, alpha=0.15, linewidth=0.7)
    for side, spine in axis.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color(_INK)


def _legend(figure: Any, axes: Sequence[Any]) -> None:
    """Name every stage once, above the plots, where no point can lie below it."""
    known = {
        label: handle
        for axis in axes
        for handle, label in zip(*axis.get_legend_handles_labels(), strict=True)
    }
    figure.legend(
        known.values(),
        known.keys(),
        loc="outside upper left",
        ncols=len(known),
        frameon=False,
        labelcolor=_INK,
    )


def svg(figure: Any) -> str:
    """Return the figure as an SVG element for a page: no headers, no addresses, no fixed ink."""
    import matplotlib

    stream = io.StringIO()
    nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "ms_eff"}):
        figure.savefig(stream, format="svg", metadata=nothing)
    text = stream.getvalue()
    text = text[text.index("<svg") :].replace(_INK, "currentColor")
    # HTML knows both name spaces by itself, and a page without addresses is easily checked
    return re.sub(r' xmlns(:xlink)?="[^"]*"', "", text)
