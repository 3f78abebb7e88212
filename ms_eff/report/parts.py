"""What a report consists of. A method adds its own part by one function in `PARTS`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ms_eff.report import figures, rank_search, selection, tables
from ms_eff.report.tables import Table

__all__ = ["PARTS", "Part", "parts_of"]


@dataclass(frozen=True)
class Part:
    """A titled part of a report.

    Attributes:
        title: its heading.
        text: plain words below the heading.
        table: below the words.
        figure: SVG markup, inserted as it is: from our own code, never from a file.
        folded: whether it starts closed.
    """

    title: str
    text: str = ""
    table: Table | None = None
    figure: str | None = None
    folded: bool = False


def parts_of(results: Mapping[str, Any]) -> list[Part]:
    """Return all parts that these results have something for.

    Raises:
        DataError: these are no results of a run.
    """
    tables.stages_of(results)
    return [part for make in PARTS for part in make(results)]


def _comparison(results: Mapping[str, Any]) -> Iterator[Part]:
    stages = results["stages"]
    words = ["Shares, gains and points refer to the first row.", *tables.remarks(stages)]
    yield Part("Comparison", " ".join(words), tables.comparison(stages))


def _trade_off(results: Mapping[str, Any]) -> Iterator[Part]:
    figure = figures.trade_off(results["stages"])
    if figure:
        yield Part("Trade-off", figure=figure)


def _curves(results: Mapping[str, Any]) -> Iterator[Part]:
    figure = figures.curves(results["stages"])
    if figure:
        yield Part("Training", figure=figure)


def _layers(results: Mapping[str, Any]) -> Iterator[Part]:
    for method, report in (results.get("methods") or {}).items():
        found = (report or {}).get("layers") or []
        if found:
            yield Part(f"Layers: {method}", tables.about_layers(found), tables.layers(found))


def _rank_search(results: Mapping[str, Any]) -> Iterator[Part]:
    for method, report in (results.get("methods") or {}).items():
        found = rank_search.searched((report or {}).get("layers") or [])
        if found:
            words = [
                rank_search.about_network(report.get("network")),
                "Layers of equal work were timed once. Curve: time of the factors by rank, with "
                "spread; dashed: the layer itself; diamond: the rank that was chosen. ORG: the "
                "layer stays as it is.",
            ]
            yield Part(
                f"Ranks by latency: {method}",
                " ".join(filter(None, words)),
                rank_search.table_of(found),
                rank_search.curves_of(found),
            )


def _selection(results: Mapping[str, Any]) -> Iterator[Part]:
    for method, report in (results.get("methods") or {}).items():
        if not (report or {}).get("class_counts"):
            continue
        words = selection.about(report, results["stages"])
        yield Part(f"Data: {method}", words, selection.classes(report), selection.metric(report))
        for title, key in (("Most", "most_important"), ("Least", "least_important")):
            found = report.get(key) or []
            if found:
                yield Part(
                    f"{title} important samples: {method}",
                    table=selection.samples(found),
                    figure=selection.pictures(found),
                )


def _config(results: Mapping[str, Any]) -> Iterator[Part]:
    if results.get("config"):
        yield Part("Configuration", table=tables.facts(results["config"]), folded=True)


def _environment(results: Mapping[str, Any]) -> Iterator[Part]:
    if results.get("environment"):
        yield Part("Environment", table=tables.facts(results["environment"]), folded=True)


PARTS: list[Callable[[Mapping[str, Any]], Iterator[Part]]] = [
    _comparison,
    _trade_off,
    _curves,
    _layers,
    _rank_search,
    _selection,
    _config,
    _environment,
]
