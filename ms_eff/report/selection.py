"""What a selection of data kept: classes, distribution of the metric, samples at both ends."""

from __future__ import annotations

import html
import re
import statistics
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from ms_eff.report.drawing import inline_svg, legend, name_axes, panels, style
from ms_eff.report.numbers import decimal, exact, percent
from ms_eff.report.tables import Entry, Table

__all__ = ["about", "classes", "metric", "pictures", "samples", "seconds_saved"]

Report = Mapping[str, Any]

_SIDE = 96  # of a picture, in the units of the page
_PNG = re.compile(r"[A-Za-z0-9+/]+=*")


def about(report: Report, stages: Mapping[str, Mapping[str, Any]]) -> str:
    """Say how many samples went through the network, against all of them, and what it saved."""
    form = report["closed_form"]
    full, trained = form["samples_of_full_training"], report["samples_trained"]
    words = [
        f"Policy {report['policy']}: {exact(report['kept'])} of {exact(report['samples'])} samples "
        f"in the last epoch on a share. {exact(trained)} samples trained on and "
        f"{exact(report['samples_evaluated'])} evaluated, where full training would have taken "
        f"{exact(full)} ({percent(trained / full)})."
    ]
    curve: Sequence[Mapping[str, Any]] = next(
        (s["curve"] for s in reversed(list(stages.values())) if s.get("curve")), []
    )
    last = report["anneal_epochs"] if report["policy"] == "infobatch" else 0
    saved = seconds_saved(curve, report["warmup_epochs"], last)
    if saved is not None:
        words.append(
            f"Epochs on a share were {decimal(saved)} s shorter in all than as many on everything "
            f"would have been; choosing took {decimal(report['selection_seconds'])} s."
        )
    return " ".join(words)


def seconds_saved(curve: Sequence[Mapping[str, Any]], warmup: int, last: int = 0) -> float | None:
    """Return what the epochs on a share took less than one on everything each; None if unknown.

    The first epoch, which compiles, is no measure: two on everything are needed.

    Args:
        curve: one row an epoch.
        warmup: epochs on everything.
        last: how many of them stand at the end.

    >>> seconds_saved([{"seconds": s} for s in (9.0, 14.0, 15.0, 16.5)], 2)
    7.5
    >>> seconds_saved([{"seconds": s} for s in (9.0, 10.0, 11.5, 16.5)], 2, last=1)
    7.5
    """
    if warmup < 2 or len(curve) <= warmup:
        return None
    ends = [0.0, *(epoch["seconds"] for epoch in curve)]
    taken = [after - before for before, after in pairwise(ends)]
    first, end = warmup - last, len(taken) - last
    whole = statistics.median([*taken[1:first], *taken[end:]])
    return sum(whole - seconds for seconds in taken[first:end])


def classes(report: Report) -> Table:
    """Return one row a class: its samples, and how many of them the last subset holds."""
    rows = [
        (
            Entry(name, number=False),
            Entry(exact(count)),
            Entry(exact(kept)),
            Entry(percent(kept / count if count else None)),
        )
        for name, count, kept in zip(
            report["classes"], report["class_counts"], report["kept_class_counts"], strict=True
        )
    ]
    return Table(("class", "samples", "kept", "share"), tuple(rows))


def metric(report: Report) -> str | None:
    """Plot how the metric is distributed over all samples and over those kept; None without one."""
    found = report.get("metric")
    if not found:
        return None
    figure, (axis,) = panels(1)
    for index, (key, name) in enumerate((("counts", "all"), ("kept_counts", "kept"))):
        colour = style(index)["color"]
        axis.stairs(found[key], found["edges"], fill=True, alpha=0.55, color=colour, label=name)
    axis.set_yscale("symlog")
    what = "loss" if report["policy"] == "infobatch" else "movement of the logits"
    name_axes(axis, what, "samples")
    legend(figure, [axis])
    return inline_svg(figure)


def samples(found: Sequence[Mapping[str, Any]]) -> Table:
    """Return one row a sample: number, class, metric, and its text if it is one."""
    texts = any("text" in sample for sample in found)
    rows = tuple(
        (
            Entry(exact(sample["index"])),
            Entry(str(sample["class"]), number=False),
            Entry(decimal(sample["metric"])),
            *((Entry(sample.get("text", ""), number=False),) if texts else ()),
        )
        for sample in found
    )
    return Table(("sample", "class", "metric", *(("text",) if texts else ())), rows)


def pictures(found: Sequence[Mapping[str, Any]]) -> str | None:
    """Return the samples' pictures side by side, as SVG; None if they are none.

    What comes from a results file is put in only where it is base64.
    """
    images = [s for s in found if _PNG.fullmatch(str(s.get("png", "")))]
    if not images:
        return None
    step = _SIDE + 12
    parts = [
        f'<image x="{step * i}" y="0" width="{_SIDE}" height="{_SIDE}" '
        f'style="image-rendering: pixelated" href="data:image/png;base64,{sample["png"]}"/>'
        f'<text x="{step * i}" y="{_SIDE + 16}" font-size="12">'
        f"{html.escape(str(sample['class']))}</text>"
        for i, sample in enumerate(images)
    ]
    width = step * len(images)
    return f'<svg viewBox="0 0 {width} {_SIDE + 22}" width="{width}">{"".join(parts)}</svg>'
