"""What a search by latency saw and decided: a table, and a curve for each distinct layer."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ms_eff.report.drawing import inline_svg, name_axes, panels
from ms_eff.report.numbers import brief, dimensions
from ms_eff.report.tables import Entry, Table

__all__ = ["Searched", "about_network", "curves_of", "searched", "table_of"]

_COLUMNS = 4
_MOST = 32  # panels; further layers are in the table all the same
_COLOURS = ("#3b82d6", "#e07b1f", "#2a9d6f")


@dataclass(frozen=True)
class Searched:
    """Layers that were timed as one, for they do the same work.

    Attributes:
        layers: their names.
        shape: of the weight.
        search: what was recorded: `dense`, `curve`, `rank` (None: left whole), `start`, `why`.
    """

    layers: tuple[str, ...]
    shape: tuple[int, ...]
    search: Mapping[str, Any]

    @property
    def title(self) -> str:
        """The first layer's name, and how many are like it."""
        more = len(self.layers) - 1
        return self.layers[0] + (f" and {more} more" if more else "")


def searched(report: Sequence[Mapping[str, Any]]) -> list[Searched]:
    """Return the distinct layers of a method's report that a search looked at."""
    together: dict[str, list[Mapping[str, Any]]] = {}
    for row in report:
        if row.get("search"):
            together.setdefault(json.dumps([row["shape"], row["search"]]), []).append(row)
    return [
        Searched(tuple(row["layer"] for row in rows), tuple(rows[0]["shape"]), rows[0]["search"])
        for rows in together.values()
    ]


def table_of(found: Sequence[Searched]) -> Table:
    """Return one row a distinct layer: time of the layer, time at its rank, and why."""
    rows = []
    for one in found:
        search = one.search
        times = {point["rank"]: point for point in search["curve"]}
        chosen = times.get(search["rank"])
        rows.append(
            (
                Entry(one.title, number=False),
                Entry(dimensions(list(one.shape)), number=False),
                _time(search["dense"]),
                Entry(str(search["start"])),
                Entry("ORG" if search["rank"] is None else str(search["rank"])),
                _time(chosen) if chosen else Entry(),
                Entry(search["why"], number=False),
            )
        )
    faint = frozenset(i for i, one in enumerate(found) if one.search["rank"] is None)
    titles = ("layer", "shape", "dense ms", "start", "rank", "ms", "why")
    return Table(titles, tuple(rows), faint)


def curves_of(found: Sequence[Searched]) -> str | None:
    """Plot t(r) of each distinct layer, its dense time, and the rank that was chosen."""
    shown = [one for one in found[:_MOST] if one.search["curve"]]
    if not shown:
        return None
    rows = math.ceil(len(shown) / _COLUMNS)
    figure, axes = panels(min(len(shown), _COLUMNS), rows, size=(2.9, 2.1))
    for axis, one in zip(axes, shown, strict=False):
        _panel(axis, one)
    for axis in axes[len(shown) :]:
        axis.set_visible(False)
    return inline_svg(figure)


def about_network(network: Mapping[str, Any] | None) -> str:
    """Say what the whole network took before and after, and who knows; empty if nobody does.

    >>> about_network({"objective": "infer", "source": "measured here", "dense_ms": 40.0,
    ...                "predicted_ms": 30.0, "measured_ms": 32.0})
    'Whole network, infer: 40.0 ms before, 32.0 ms after, 30.0 ms by its layers (measured here).'
    """
    if not network:
        return ""
    before, predicted, after = (network[f"{key}_ms"] for key in ("dense", "predicted", "measured"))
    words = [f"{brief(before)} ms before" if before is not None else "time before not known"]
    words.append(f"{brief(after)} ms after" if after is not None else "not run afterwards")
    words += [f"{brief(predicted)} ms by its layers"] if predicted is not None else []
    return f"Whole network, {network['objective']}: {', '.join(words)} ({network['source']})."


def _panel(axis: Any, one: Searched) -> None:
    line, mark, dense = _COLOURS
    curve = sorted(one.search["curve"], key=lambda point: point["rank"])
    ranks = [point["rank"] for point in curve]
    times = [point["median_ms"] for point in curve]
    axis.errorbar(
        ranks, times, yerr=[point["spread_ms"] / 2 for point in curve],
        color=line, marker="o", markersize=3, linewidth=1.2, capsize=2,
    )  # fmt: skip
    axis.axhline(one.search["dense"]["median_ms"], color=dense, linestyle="--", linewidth=1.2)
    chosen = one.search["rank"]
    if chosen in ranks:
        axis.plot([chosen], [times[ranks.index(chosen)]], color=mark, marker="D", markersize=7)
    axis.set_ylim(bottom=0)
    name_axes(axis, "rank", "ms", title=f"{one.title}\n{dimensions(list(one.shape))}")


def _time(timing: Mapping[str, Any]) -> Entry:
    spread = (f"spread {brief(timing['spread_ms'])}",) if timing["spread_ms"] else ()
    return Entry(brief(timing["median_ms"]), spread)
