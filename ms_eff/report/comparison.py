"""Our methods beside what one would pick instead: one page of tables and plots, from results alone.

`python -m ms_eff.report.comparison` reads what is in `results/` and writes
`runs/compare/index.html`. Nothing is measured here: a family that has no file yet is named with the
command that makes it.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ms_eff.errors import ConfigError, UserError
from ms_eff.report.calls import where
from ms_eff.report.drawing import INK, inline_svg, legend, name_axes, panels, style
from ms_eff.report.families import FAMILIES
from ms_eff.report.family import Family, Measure
from ms_eff.report.numbers import MISSING, deviation, mean
from ms_eff.report.page import page_of, save
from ms_eff.report.parts import Part
from ms_eff.report.tables import Entry, Table

__all__ = ["main", "page"]

_TITLE = "Ours beside what one would pick instead"
_SPREAD = (
    "Of several runs: mean ± standard deviation over the seeds; bars in the plot reach as far."
)


@dataclass(frozen=True)
class _Point:
    """The runs of one contender at one place: a row of the table, a marker of the plot."""

    panel: tuple[str, ...]
    name: str
    along: float | None
    rows: tuple[Mapping[str, Any], ...]

    def values(self, measure: Measure) -> list[float]:
        """Return a measure of each run that has it."""
        found = (row.get(measure.key) for row in self.rows)
        return [measure.scale * value for value in found if value is not None]

    def text(self, measure: Measure) -> str:
        """Return mean and spread; values that are all the same (timed once, counted) have none."""
        values = self.values(measure)
        return mean(values[:1] if len(set(values)) == 1 else values, measure.digits)


def page(results: Path, families: Sequence[Family] = FAMILIES) -> str:
    """Return the page as HTML that needs no network.

    Args:
        results: folder of the results files.
        families: what to compare, in this order.

    Raises:
        ConfigError: there is no such folder, or a file in it is damaged.
        SetupError: jinja2 or matplotlib is not installed.
    """
    if not results.is_dir():
        raise ConfigError(f"--results {results}: no such folder; name the one of the results files")
    measured = sum((results / family.file).exists() for family in families)
    parts = [part for family in families for part in _parts(family, results / family.file)]
    return page_of(_TITLE, f"{measured} of {len(families)} families measured", parts)


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the page; return 0, or 2 for a user's mistake."""
    parser = argparse.ArgumentParser(prog="python -m ms_eff.report.comparison", description=__doc__)
    add = parser.add_argument
    add("--results", type=Path, default=Path("results"), help="folder of the results files")
    add("--output", type=Path, default=Path("runs/compare/index.html"))
    options = parser.parse_args(arguments)
    try:
        print(save(page(options.results), options.output))
    except UserError as error:
        print(f"comparison: {error}", file=sys.stderr)
        return 2
    return 0


def _parts(family: Family, path: Path) -> list[Part]:
    if not path.exists():
        remedy = f"Not measured yet: {family.make} writes {path.name}."
        return [Part(family.title, f"{family.what} {remedy}")]
    found = family.read(path)
    points = _points(family, found.rows)
    if not points:
        return [Part(family.title, f"{family.what} {path.name} has no row of these yet.")]
    there = {point.name for point in points}
    missing = [name for name in family.contenders if name not in there]
    words = [family.what]
    if any(len(point.rows) > 1 for point in points):
        words.append(_SPREAD)
    if missing:
        words.append(f"Not measured yet: {'; '.join(missing)}. {family.make} adds them.")
    return [
        Part(family.title, " ".join(words), _table(family, points), _plot(family, points)),
        Part(f"{family.title}: where from", table=_calls(path.name, found.calls), folded=True),
    ]


def _points(family: Family, rows: Sequence[Mapping[str, Any]]) -> list[_Point]:
    """Return the points in the order of the table: panel by panel, contender by contender."""
    grouped: dict[tuple[tuple[str, ...], str, float | None], list[Mapping[str, Any]]] = {}
    for row in rows:
        name = family.name_of(row)
        if name in family.contenders:
            panel = tuple(str(row[column]) for column in family.panels)
            along = row[family.along.key] if family.along else None
            grouped.setdefault((panel, name, along), []).append(row)
    panels_in_order = list(dict.fromkeys(panel for panel, _, _ in grouped))
    order = list(family.contenders)
    keys = sorted(
        grouped, key=lambda k: (panels_in_order.index(k[0]), order.index(k[1]), k[2] or 0.0)
    )
    return [_Point(*key, tuple(grouped[key])) for key in keys]


def _table(family: Family, points: Sequence[_Point]) -> Table:
    measures = (family.quality, family.cost, *family.more)
    along = (family.along.title,) if family.along else ()
    titles = (measure.title for measure in measures)
    columns = (*family.panels, "method", "side", *along, "seeds", *titles, "what it is")
    return Table(columns, tuple(_cells(family, point, measures) for point in points))


def _cells(family: Family, point: _Point, measures: Sequence[Measure]) -> tuple[Entry, ...]:
    contender = family.contenders[point.name]
    words = (*point.panel, point.name, contender.side)
    seeds = dict.fromkeys(str(row["seed"]) for row in point.rows if row.get("seed") is not None)
    along = () if point.along is None else (Entry(f"{point.along:g}"),)
    return (
        *(Entry(word, number=False) for word in words),
        *along,
        Entry(", ".join(seeds) or MISSING),
        *(Entry(point.text(measure)) for measure in measures),
        Entry(contender.what, number=False),
    )


def _plot(family: Family, points: Sequence[_Point]) -> str:
    """Draw quality over cost: ours filled and solid, rivals hollow and dashed."""
    groups = list(dict.fromkeys(point.panel for point in points))
    columns = min(len(groups), 2)
    figure, axes = panels(columns, -(-len(groups) // columns), size=(5.4, 3.6))
    for axis, panel in zip(axes, groups, strict=False):
        for name in family.contenders:
            own = [p for p in points if (p.panel, p.name) == (panel, name)]
            pairs = [(p.values(family.cost), p.values(family.quality)) for p in own]
            pairs = [(cost, quality) for cost, quality in pairs if cost and quality]
            if pairs:
                costs, qualities = zip(*pairs, strict=True)
                axis.errorbar(
                    [statistics.fmean(values) for values in costs],
                    [statistics.fmean(values) for values in qualities],
                    xerr=[deviation(values) for values in costs],
                    yerr=[deviation(values) for values in qualities],
                    capsize=3,
                    **_look(family, name),
                    label=name,
                )
        axis.margins(0.1, 0.15)
        if family.logarithmic:
            axis.set_yscale("log")
        name_axes(axis, family.cost.title, family.quality.title, ", ".join(panel))
    for axis in axes[len(groups) :]:
        axis.set_visible(False)
    legend(figure, axes[: len(groups)], columns=3 if columns == 1 else 5)
    return inline_svg(figure)


def _look(family: Family, name: str) -> dict[str, Any]:
    side = family.contenders[name].side
    if side == "reference":
        return {**style(0), "color": INK, "marker": "*", "markersize": 8, "linestyle": ":"}
    others = [key for key, value in family.contenders.items() if value.side != "reference"]
    look = style(others.index(name))
    return look if side == "ours" else {**look, "linestyle": "--", "markerfacecolor": "none"}


def _calls(file: str, calls: Sequence[Mapping[str, Any]]) -> Table:
    """Return a row for each call that measured: its command, place and commit."""
    rows = []
    for call in calls:
        commit = (call.get("commit") or MISSING)[:7]
        changed = " with changes" if call.get("dirty") else ""
        texts = (call.get("command") or MISSING, where(call), f"{commit}{changed}")
        rows.append(tuple(Entry(text, number=False) for text in (file, *texts)))
    return Table(("file", "command", "where", "commit"), tuple(rows))


if __name__ == "__main__":
    sys.exit(main())
