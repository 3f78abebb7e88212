"""The plots of a run's report, as inline SVG."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ms_eff.report.drawing import inline_svg, legend, name_axes, panels, style

__all__ = ["curves", "trade_off"]

Stages = Mapping[str, Mapping[str, Any]]

_PLACES = {"epoch": "epoch of its stage", "seconds": "seconds of its training"}
# what a network is judged by: column of the results, axis, what it is multiplied by
_METRICS = (("accuracy", "test accuracy, %", 100), ("perplexity", "test perplexity", 1))
_SCALES = {key: scale for key, _, scale in _METRICS}


def curves(stages: Stages) -> str | None:
    """Plot loss and metric over the epochs of each stage, and the metric over its seconds.

    Returns:
        The figure, or None if no stage has a curve.
    """
    kinds = [
        (key, title, over)
        for key, title, over in (
            ("train_loss", "training loss", "epoch"),
            *((key, title, over) for key, title, _ in _METRICS for over in _PLACES),
        )
        if any(_series(stage, key, over) for stage in stages.values())
    ]
    if not kinds:
        return None
    figure, axes = panels(len(kinds))
    for axis, (key, title, over) in zip(axes, kinds, strict=True):
        for index, (name, stage) in enumerate(stages.items()):
            points = _series(stage, key, over)
            if points:
                scale = _SCALES.get(key, 1)
                axis.plot(
                    [place for place, _ in points],
                    [scale * value for _, value in points],
                    **style(index),
                    label=name,
                )
        name_axes(axis, _PLACES[over], title)
    legend(figure, axes)
    return inline_svg(figure)


def trade_off(stages: Stages) -> str | None:
    """Plot the metric against parameters, MACs and latency; None if no stage has both."""
    for metric in _METRICS:
        figure = _trade_off(stages, metric)
        if figure is not None:
            return figure
    return None


def _trade_off(stages: Stages, metric: tuple[str, str, int]) -> str | None:
    key, title, scale = metric
    kinds = [
        (label, [(name, *point) for name, stage in stages.items() if (point := place(stage))])
        for label, place in (
            ("parameters, millions", _by_count(key, "params", 1e6)),
            ("MACs, millions", _by_count(key, "macs", 1e6)),
            ("forward latency, ms (p10 to p90)", _by_latency(key)),
        )
    ]
    kinds = [(label, points) for label, points in kinds if points]
    if not kinds:
        return None
    figure, axes = panels(len(kinds))
    order = list(stages)
    for axis, (label, points) in zip(axes, kinds, strict=True):
        for name, judged, value, spread in points:
            axis.errorbar(
                [value], [scale * judged], xerr=spread, capsize=3, **style(order.index(name)),
                label=name,
            )  # fmt: skip
        axis.margins(0.15, 0.2)
        axis.set_xlim(left=0)
        if scale == 100:  # a share ends there
            axis.set_ylim(top=min(axis.get_ylim()[1], 100.5))
        name_axes(axis, label, title)
    legend(figure, axes)
    return inline_svg(figure)


def _series(stage: Mapping[str, Any], key: str, over: str) -> list[tuple[float, float]]:
    curve = stage.get("curve") or []
    return [
        (point[over], point[key])
        for point in curve
        if point.get(key) is not None and point.get(over) is not None
    ]


def _by_count(metric: str, key: str, unit: float) -> Any:
    def place(stage: Mapping[str, Any]) -> tuple[float, float, None] | None:
        if stage.get(metric) is None or stage.get(key) is None:
            return None
        return stage[metric], stage[key] / unit, None

    return place


def _by_latency(metric: str) -> Any:
    def place(stage: Mapping[str, Any]) -> tuple[float, float, Any] | None:
        taken = (stage.get("latency") or {}).get("forward")
        if stage.get(metric) is None or not taken:
            return None
        median = taken["median_ms"]
        below, above = median - taken["p10_ms"], taken["p90_ms"] - median
        return stage[metric], median, [[below], [above]]

    return place
